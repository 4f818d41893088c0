"""The whole path with a real tokenizer, a real chat template and real conversations."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, set_seed

from sft_schema import load_config
from sft_train.run import run

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
MATERIAL = ROOT.parent / "shared" / "material"
TOKENIZER = MATERIAL / "tokenizers" / "qwen3"
THREADS = MATERIAL / "data" / "oasst_en_100_trees.jsonl"
EXAMPLE = ROOT / "examples" / "qwen3-oasst.yaml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (TOKENIZER.is_dir() and THREADS.is_file()), reason=f"there is no material in {MATERIAL}"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 threads of OpenAssistant, and a random Qwen3 of two narrow layers with the real vocabulary."""
    folder = tmp_path_factory.mktemp("real")
    with THREADS.open(encoding="utf-8") as lines:
        (folder / "threads.jsonl").write_text("".join(islice(lines, 64)), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.save_pretrained(folder / "model")
    config = Qwen3Config(
        vocab_size=151_936,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=True,
    )
    set_seed(1)
    Qwen3ForCausalLM(config).save_pretrained(folder / "model")
    return folder


def train(folder: Path, out: Path, *overrides: str) -> Any:
    """The example as it stands, but for the model, the data, and the size of the run."""
    small = (
        f"base_model={folder / 'model'}",
        f"datasets.0.path={folder / 'threads.jsonl'}",
        f"dataset_prepared_path={folder / 'prepared'}",
        f"output_dir={out}",
        "sequence_len=1024",
        "gradient_accumulation_steps=2",
        "max_steps=6",
        "gradient_checkpointing=false",
        'save_strategy="no"',
    )
    return run(load_config(EXAMPLE, (*small, *overrides)))


def messages() -> list[dict[str, str]]:
    with THREADS.open(encoding="utf-8") as lines:
        return json.loads(next(lines))["messages"]


def test_example_trains_an_adapter_that_loads(folder: Path, tmp_path: Path) -> None:
    summary = train(folder, tmp_path, "learning_rate=2e-2")
    assert summary.train_loss_last < summary.train_loss_first
    assert summary.eval_loss_after < summary.eval_loss_before
    assert 0 < summary.trained_tokens < summary.tokens
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    ids = torch.tensor([[1, 2, 3]])
    before = base(ids).logits.detach().clone()
    after = PeftModel.from_pretrained(base, tmp_path)(ids).logits
    assert (before - after).abs().max() > 1e-3


def test_full_run_on_fresh_weights_reloads_with_its_tokenizer_and_template(folder: Path, tmp_path: Path) -> None:
    full = full_config(folder, tmp_path)
    summary = run(load_config(full))
    assert summary.train_loss_last < summary.train_loss_first - 0.5
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    saved, own = AutoTokenizer.from_pretrained(tmp_path / "out"), AutoTokenizer.from_pretrained(TOKENIZER)
    for extra in ({}, {"add_generation_prompt": True}, {"enable_thinking": False, "add_generation_prompt": True}):
        assert saved.apply_chat_template(messages(), tokenize=False, **extra) == own.apply_chat_template(
            messages(), tokenize=False, **extra
        )
    prompt = saved.apply_chat_template(
        messages()[:1], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    answer = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > prompt["input_ids"].shape[1]
    assert saved.convert_tokens_to_ids("<|im_end|>") in model.generation_config.eos_token_id


def full_config(folder: Path, tmp_path: Path) -> Path:
    text = f"""\
base_model: {folder / "model"}
reinit_weights: true
datasets: [{{path: {folder / "threads.jsonl"}}}]
val_set_size: 4
dataset_prepared_path: {folder / "prepared"}
output_dir: {tmp_path / "out"}
sequence_len: 1024
excess_length_strategy: truncate
sample_packing: true
gradient_accumulation_steps: 2
max_steps: 6
learning_rate: 3e-2
save_strategy: "no"
"""
    file = tmp_path / "full.yaml"
    file.write_text(text)
    return file
