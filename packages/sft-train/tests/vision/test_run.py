"""Tiny vision models learn the colours of generated pictures through the whole run."""

from __future__ import annotations

import json
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
