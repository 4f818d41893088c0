from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sft_schema import ConfigError, SftConfig
from sft_schema.config import AdapterSection
from sft_train.model import freeze_others
from sft_train.run import run


@pytest.fixture
def model(model_folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model_folder)


def unfrozen(model: Any, *texts: str) -> set[str]:
    freeze_others(model, AdapterSection(unfrozen_parameters=texts))
    return {name for name, each in model.named_parameters() if each.requires_grad}


def test_without_the_setting_all_weights_are_trained(model: Any) -> None:
    assert len(unfrozen(model)) == len(list(model.parameters()))


def test_expressions_name_the_weights_that_are_trained(model: Any) -> None:
    found = unfrozen(model, "^lm_head.weight$", r"model.layers.1.mlp.[a-z]+_proj")
    assert found == {"lm_head.weight", *(f"model.layers.1.mlp.{each}_proj.weight" for each in ("up", "down", "gate"))}


def test_an_expression_begins_where_the_name_begins(model: Any) -> None:
    with pytest.raises(ConfigError, match=r"'layers.1.mlp' matches the name of no weight[\s\S]*model\.embed_tokens"):
        unfrozen(model, "layers.1.mlp")


def test_a_range_beyond_the_weight_is_refused(model: Any) -> None:
    with pytest.raises(ConfigError, match=r"rows 0 to 263[\s\S]*264"):
        unfrozen(model, "model.embed_tokens.weight$[:300]")


def test_ranges_of_one_weight_add_up(model: Any) -> None:
    unfrozen(model, "lm_head.weight$[:4]", "lm_head.weight$[260:]")
    model(input_ids=torch.arange(12)[None], labels=torch.arange(12)[None]).loss.backward()
    moving = model.lm_head.weight.grad.abs().sum(1) > 0
    assert moving.nonzero().flatten().tolist() == [0, 1, 2, 3, 260, 261, 262, 263]


def test_a_run_changes_those_rows_and_weights_and_no_others(
    config: Callable[..., SftConfig], model_folder: Path
) -> None:
    texts = "['^model.embed_tokens.weight$[100:]', '^model.layers.1.']"
    cfg = config(max_steps="3", unfrozen_parameters=texts)
    run(cfg)
    before, after = load_file(model_folder / "model.safetensors"), load_file(Path(cfg.output_dir) / "model.safetensors")
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {"model.embed_tokens.weight", *(name for name in before if ".layers.1." in name)}
    rows = (before["model.embed_tokens.weight"] != after["model.embed_tokens.weight"]).any(1)
    assert not rows[:100].any()
    assert rows[100:].any()
