"""Tiny vision models learn the colours of generated pictures through the whole run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from sft_schema import SftConfig
from sft_train.run import run

pytestmark = [pytest.mark.extra("torchvision"), pytest.mark.slow]

FAMILIES = ("llava", "qwen2_vl", "gemma3", "mllama", "pixtral")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_model_of_each_family_learns_and_is_saved_with_its_processor(
    family: str, vision_config: Callable[..., SftConfig], tmp_path: Path
) -> None:
    cfg = vision_config(family, num_epochs="4")
    summary = run(cfg)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0], losses
    assert summary is not None
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert type(processor).__name__ == type(AutoProcessor.from_pretrained(cfg.base_model)).__name__
    assert isinstance(model, torch.nn.Module)


def test_a_run_with_an_adapter_and_held_out_pictures_goes_on_as_if_never_stopped(
    vision_config: Callable[..., SftConfig], picture_data: Path, tmp_path: Path
) -> None:
    shared = {
        "adapter": "lora",
        "lora_target_modules": "[q_proj, v_proj]",
        "test_datasets": f"[{{path: {picture_data / 'colours.jsonl'}}}]",
        "eval_overlap": "keep",
        "eval_batch_size": "4",
        "save_strategy": "steps",
        "save_steps": "2",
        "max_steps": "5",
    }
    whole = run(vision_config("llava", **shared, output_dir=str(tmp_path / "whole")))
    parts = {**shared, "output_dir": str(tmp_path / "parts")}
    run(vision_config("llava", **parts))
    for later in (4, 5):
        shutil.rmtree(tmp_path / "parts" / f"checkpoint-{later}")
    resumed = run(vision_config("llava", **parts, resume_from_checkpoint="true"))
    assert resumed.resumed_from is not None
    assert resumed.eval_loss_after == whole.eval_loss_after
    assert (tmp_path / "whole" / "checkpoint-2" / "processor_config.json").is_file()
    assert whole.eval_loss_after < whole.eval_loss_before


def test_the_saved_model_answers_with_the_saved_processor(
    vision_config: Callable[..., SftConfig], picture_data: Path, tmp_path: Path
) -> None:
    """Trained until it knows the colours; asked with what is in `output_dir` alone."""
    run(vision_config("qwen2_vl", num_epochs="60", learning_rate="1e-2", lr_scheduler="constant"))
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    for name in ("red", "green", "blue", "white"):
        ask = [{"type": "image", "path": str(picture_data / f"{name}40.png")}, {"type": "text", "text": "Colour?"}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": ask}],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        output = model.generate(**inputs, do_sample=False, max_new_tokens=8)
        answer = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert answer == name
