"""A model of pictures from the command line: trained, inspected, and asked as the command itself says."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, set_seed

from sft_schema.testing.vision import token_ids, write_png, write_processor

pytestmark = [pytest.mark.extra("torchvision"), pytest.mark.slow]
pytest.importorskip("torchvision", reason="an extra: torchvision is not installed")

SFT = Path(sys.executable).parent / "sft"


def tiny_llava(folder: Path) -> None:
    """A LLaVA of about 100,000 random weights with its processor."""
    write_processor(folder, "llava")
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"vocab_size": 272, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    config = LlavaConfig(
        text_config={"model_type": "llama", **size, **ids},
        vision_config=CLIPVisionConfig(**size, image_size=32, patch_size=8, projection_dim=32),
        image_token_index=token_ids("llava")["<image>"],
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    set_seed(1)
    LlavaForConditionalGeneration(config).save_pretrained(folder)


def sft(folder: Path, *arguments: str) -> str:
    done = subprocess.run([SFT, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_train_inspect_and_the_command_to_try_the_model(tmp_path: Path) -> None:
    tiny_llava(tmp_path / "model")
    write_png(tmp_path / "red.png", 40, 30, (250, 0, 0))
    ask = [{"type": "image", "path": "red.png"}, {"type": "text", "text": "Colour?"}]
    row = {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": "red"}]}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 2, encoding="utf-8")
    settings = {
        "base_model": "model",
        "processor_type": "AutoProcessor",
        "datasets": [{"path": "rows.jsonl"}],
        "learning_rate": 1e-3,
        "sequence_len": 128,
        "micro_batch_size": 2,
        "output_dir": "out",
    }
    (tmp_path / "run.yaml").write_text(json.dumps(settings), encoding="utf-8")
    shown = sft(tmp_path, "inspect", "run.yaml")
    assert "⟦red</s>⟧" in shown
    assert shown.count("<image>") == 16
    command = re.search(r"^try it  python (.*)$", sft(tmp_path, "train", "run.yaml"), re.MULTILINE)
    assert command is not None
    asked = subprocess.run(
        [sys.executable, *shlex.split(command[1])], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
