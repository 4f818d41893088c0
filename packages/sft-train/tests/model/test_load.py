from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sft_schema import ConfigError
from sft_schema.config import ModelSection
from sft_train.compute import Compute
from sft_train.model import load_model
from sft_train.testing import tiny_model

CPU = Compute(bf16=False, use_cpu=True)


def section(folder: Path, **settings: object) -> ModelSection:
    return ModelSection(base_model=str(folder), **settings)


def test_bfloat16_checkpoint_becomes_float32_weights(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    model = load_model(section(folder), 1, CPU)
    assert {each.dtype for each in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_model_uses_the_backend_that_was_asked_for(model_folder: Path, name: str) -> None:
    assert load_model(section(model_folder, attn_implementation=name), 1, CPU).config._attn_implementation == name


def test_random_weights_come_from_the_seed_and_need_no_weight_file(tmp_path: Path) -> None:
    cfg = section(tiny_model(tmp_path, weights=False), reinit_weights=True)
    first, same, other = (load_model(cfg, seed, CPU).lm_head.weight for seed in (1, 1, 2))
    assert first.equal(same)
    assert not first.equal(other)


def test_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_model(section(tiny_model(tmp_path, weights=False)), 1, CPU)


def test_missing_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_model(section(tmp_path / "nowhere"), 1, CPU)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_model(section(folder), 1, CPU)


def test_checkpoint_that_lacks_a_weight_is_refused_instead_of_filled_with_noise(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 weights, such as model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(section(folder), 1, CPU)


def test_adapter_folder_is_not_taken_for_a_model(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    folder = tiny_model(tmp_path / "base")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ConfigError, match="holds an adapter"):
        load_model(section(tmp_path / "adapter"), 1, CPU)
