"""Losses by data set add up to the loss of all, whatever shares a row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft_schema import SftConfig
from sft_train.run import run
from sft_train.testing import write_conversations

MakeConfig = Callable[..., SftConfig]
WAYS: dict[str, dict[str, str]] = {
    "from the head's weights": {},
    "from logits": {"adapter": "lora", "lora_target_modules": "[lm_head]", "lora_r": "4", "peft_use_dora": "true"},
    "not packed, in parts": {"sample_packing": "false", "gradient_accumulation_steps": "2", "micro_batch_size": "7"},
}


def lines(cfg: SftConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(cfg.output_dir) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS.keys())
def test_losses_of_data_sets_are_those_of_their_rows(
    config: MakeConfig, tmp_path: Path, settings: dict[str, str]
) -> None:
    """All rows are in the first step, and are held out as well: two ways to the same losses, before weights change."""
    files = [write_conversations(tmp_path / f"{name}.jsonl", 7, seed=seed) for seed, name in enumerate("ab")]
    sets = f"[{{path: {files[0]}}}, {{path: {files[1]}}}]"
    given = {"micro_batch_size": "14", "max_steps": "1", "eval_overlap": "keep"} | settings
    cfg = config(datasets=sets, test_datasets=sets, **given)
    run(cfg)
    train = next(line for line in lines(cfg) if "loss" in line)
    held = next(line for line in lines(cfg) if "eval_loss" in line)
    assert [key for key in held if "/" in key] == [f"eval_loss/{file}" for file in files]
    assert held["eval_perplexity"] == pytest.approx(math.exp(held["eval_loss"]))
    of_sets = [held[f"eval_loss/{file}"] for file in files]
    assert min(of_sets) < held["eval_loss"] < max(of_sets)
    assert [train[f"loss/{file}"] for file in files] == pytest.approx(of_sets, abs=2e-4)
    assert train["loss"] == pytest.approx(held["eval_loss"], abs=2e-4)
    assert 0 <= train["data_wait"] < 1
    assert ("packing_efficiency" in train) == cfg.sample_packing


def test_one_data_set_has_no_loss_of_its_own(config: MakeConfig) -> None:
    cfg = config(max_steps="1")
    run(cfg)
    assert not [key for line in lines(cfg) for key in line if "/" in key]
