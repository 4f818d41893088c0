from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel

from sft_schema import ConfigError
from sft_schema.config import AdapterSection
from sft_train.adapter import add_adapter


@pytest.fixture
def model(model_folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(model_folder)


def test_without_an_adapter_every_weight_is_trained(model: PreTrainedModel) -> None:
    assert add_adapter(model, AdapterSection()) is model
    assert all(each.requires_grad for each in model.parameters())


def test_named_layers_alone_are_adapted(model: PreTrainedModel) -> None:
    cfg = AdapterSection(adapter="lora", lora_r=3, lora_alpha=6, lora_target_modules=("q_proj", "v_proj"))
    trained = {n: p for n, p in add_adapter(model, cfg).named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 2, "two layers, two projections, A and B"
    assert all("q_proj.lora_" in name or "v_proj.lora_" in name for name in trained)
    assert {len(each) for name, each in trained.items() if "lora_A" in name} == {3}


def test_all_linear_leaves_the_head_out(model: PreTrainedModel) -> None:
    cfg = AdapterSection(adapter="lora", lora_target_linear=True)
    trained = [n for n, p in add_adapter(model, cfg).named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 7 * 2
    assert not any("lm_head" in name for name in trained)


def test_modules_to_save_are_trained_whole(model: PreTrainedModel) -> None:
    cfg = AdapterSection(adapter="lora", lora_target_modules=("q_proj",), lora_modules_to_save=("lm_head",))
    trained = [n for n, p in add_adapter(model, cfg).named_parameters() if p.requires_grad]
    assert any("lm_head.modules_to_save" in name for name in trained)


@pytest.mark.parametrize("setting", ["lora_target_modules", "lora_modules_to_save"])
def test_name_that_matches_nothing_is_refused_with_the_names_that_exist(model: PreTrainedModel, setting: str) -> None:
    names = {"lora_target_modules": ("q_proj",)} | {setting: ("q_proj", "query_key_value")}
    with pytest.raises(ConfigError) as caught:
        add_adapter(model, AdapterSection(adapter="lora", **names))
    (issue,) = caught.value.issues
    assert issue.path == (setting, 1)
    assert "query_key_value" in issue.message
    assert "down_proj" in issue.fix
    assert "lm_head" in issue.fix


def test_layer_that_cannot_be_adapted_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(ConfigError, match=r"not supported[\s\S]*q_proj"):
        add_adapter(model, AdapterSection(adapter="lora", lora_target_modules=("input_layernorm",)))
