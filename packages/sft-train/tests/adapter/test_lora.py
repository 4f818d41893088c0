from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedModel

from sft_schema import ConfigError, SftConfig
from sft_schema.config import AdapterSection
from sft_train.adapter import add_adapter
from sft_train.run import run
from sft_train.testing import tiny_model


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


def test_names_beside_all_linear_are_further_layers(model: PreTrainedModel) -> None:
    def adapted(**settings: Any) -> set[str]:
        cfg = AdapterSection(adapter="lora", lora_target_linear=True, **settings)
        fresh = AutoModelForCausalLM.from_config(model.config)
        return {n for n, p in add_adapter(fresh, cfg).named_parameters() if p.requires_grad}

    every = adapted()
    assert adapted(lora_target_modules=("q_proj", "down_proj")) == every
    more = adapted(lora_target_modules=("q_proj", "embed_tokens"))
    assert more > every
    assert all("embed_tokens.lora_" in name for name in more - every)


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


IDS = torch.tensor([[5, 6, 7, 40, 41, 42]])


def lora(**settings: Any) -> AdapterSection:
    return AdapterSection(adapter="lora", **{"lora_r": 4, "lora_target_modules": ("q_proj", "v_proj")} | settings)


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def moved(model: Any) -> Any:
    """The same with random numbers added to what is trained, as training would."""
    noise = torch.Generator().manual_seed(1)
    for each in trained(model).values():
        each.data += 0.05 * torch.randn(each.shape, generator=noise)
    return model.eval()


def outputs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def test_expression_is_matched_with_whole_paths(model: PreTrainedModel) -> None:
    names = trained(add_adapter(model, lora(lora_target_modules=r"model\.layers\.1\..*(up|down)_proj")))
    assert len(names) == 4
    assert all(".layers.1.mlp." in name for name in names)


def test_expression_that_matches_no_whole_path_is_refused_with_paths(model: PreTrainedModel) -> None:
    with pytest.raises(ConfigError, match=r"whole path of no layer[\s\S]*model\.layers\.\d\.self_attn\.q_proj"):
        add_adapter(model, lora(lora_target_modules=r"layers\.\d\.self_attn\.q_proj"))


def test_misspelt_layer_is_answered_with_the_nearest_one(model: PreTrainedModel) -> None:
    with pytest.raises(ConfigError, match="did you mean 'q_proj'"):
        add_adapter(model, lora(lora_target_modules=("q_porj",)))


def test_numbered_layers_alone_are_adapted(model: PreTrainedModel) -> None:
    names = trained(add_adapter(model, lora(peft_layers_to_transform=(1,), peft_layers_pattern=("layers",))))
    assert len(names) == 4
    assert all(".layers.1." in name for name in names)


def test_number_of_no_layer_is_refused_with_those_that_exist(model: PreTrainedModel) -> None:
    with pytest.raises(ConfigError, match=r"no layer 7[\s\S]*0 to 1"):
        add_adapter(model, lora(peft_layers_to_transform=(0, 7)))


def test_dora_trains_a_size_beside_each_pair(model: PreTrainedModel) -> None:
    names = trained(add_adapter(model, lora(peft_use_dora=True)))
    assert sum("lora_magnitude_vector" in name for name in names) == 4


def test_rslora_scales_by_the_root_of_the_rank(model: PreTrainedModel) -> None:
    adapted: Any = add_adapter(model, lora(peft_use_rslora=True, lora_alpha=8))
    layer = adapted.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 8 / 2


@pytest.mark.parametrize("start", ["gaussian", "orthogonal", "pissa", "olora"])
def test_adapter_begins_at_the_base_model_and_is_the_same_when_loaded(
    model_folder: Path, tmp_path: Path, start: str
) -> None:
    usual, bare = (AutoModelForCausalLM.from_pretrained(model_folder) for _ in range(2))
    before = outputs(bare)
    torch.manual_seed(1)
    plain = trained(add_adapter(usual, lora()))
    torch.manual_seed(1)
    adapted = add_adapter(bare, lora(peft_init_lora_weights=start))
    begun = trained(adapted)
    assert not all(begun[name].equal(plain[name]) for name in plain), "started in the usual way"
    torch.testing.assert_close(outputs(adapted), before, atol=1e-5, rtol=1e-5)
    moved(adapted).save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), tmp_path).eval()
    torch.testing.assert_close(outputs(again), outputs(adapted), atol=1e-5, rtol=1e-5)


@pytest.fixture
def mixture() -> PreTrainedModel:
    config = MixtralConfig(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    return MixtralForCausalLM(config)


def test_tensors_of_experts_get_adapters(mixture: PreTrainedModel) -> None:
    cfg = lora(lora_target_modules=(), lora_target_parameters=("experts.gate_up_proj", "experts.down_proj"))
    names = trained(add_adapter(mixture, cfg))
    assert len(names) == 4
    assert all("mlp.experts" in name for name in names)


def test_tensor_that_does_not_exist_is_refused_with_those_that_do(mixture: PreTrainedModel) -> None:
    with pytest.raises(ConfigError, match=r"experts\.up_proj[\s\S]*choose from experts\.down_proj, experts\.gate_up"):
        add_adapter(mixture, lora(lora_target_modules=(), lora_target_parameters=("experts.up_proj",)))


@pytest.mark.parametrize("names", [("embed_tokens",), ("lm_head",), ("embed_tokens", "lm_head")])
def test_head_and_embedding_that_share_weights_are_trained_as_one_and_loaded_as_one(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    folder = tiny_model(tmp_path / "base", tied=True)
    adapted: Any = add_adapter(AutoModelForCausalLM.from_pretrained(folder), lora(lora_modules_to_save=names))
    bare = moved(adapted).get_base_model()
    assert bare.get_input_embeddings().weight is bare.get_output_embeddings().weight
    adapted.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter").eval()
    torch.testing.assert_close(outputs(again), outputs(adapted))


def saved(folder: Path, base: Path, **settings: Any) -> torch.Tensor:
    adapted: Any = moved(add_adapter(AutoModelForCausalLM.from_pretrained(base), lora(**settings)))
    adapted.save_pretrained(folder)
    return outputs(adapted)


def test_adapter_is_trained_further_from_where_it_is(model_folder: Path, model: Any, tmp_path: Path) -> None:
    wanted = saved(tmp_path, model_folder)
    adapted = add_adapter(model, lora(lora_model_dir=str(tmp_path), lora_dropout=0.5))
    assert len(trained(adapted)) == 8
    torch.testing.assert_close(outputs(adapted.eval()), wanted)
    dropout: Any = adapted.get_submodule("base_model.model.model.layers.0.self_attn.q_proj.lora_dropout.default")
    assert dropout.p == 0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_r": 8}, r"lora_r is 8, and 4 in[\s\S]*lora_r: 4"),
        ({"peft_use_dora": True}, r"peft_use_dora is True, and False"),
        ({"lora_target_modules": ("q_proj",)}, "lora_target_modules"),
    ],
)
def test_adapter_that_is_not_what_the_config_says_is_refused(
    model_folder: Path, model: Any, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    saved(tmp_path, model_folder)
    with pytest.raises(ConfigError, match=said):
        add_adapter(model, lora(lora_model_dir=str(tmp_path), **settings))


def test_folder_without_an_adapter_is_refused(model_folder: Path, model: Any) -> None:
    with pytest.raises(ConfigError, match=r"holds no adapter[\s\S]*output_dir"):
        add_adapter(model, lora(lora_model_dir=str(model_folder)))


@pytest.mark.parametrize("start", [{}, {"peft_init_lora_weights": "pissa"}, {"peft_use_dora": "true"}])
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    config: Callable[..., SftConfig], tmp_path: Path, start: dict[str, str]
) -> None:
    shared = {"adapter": "lora", "lora_target_modules": "'.*self_attn.q_proj'", "lr_scheduler": "constant"} | start
    shared |= {"save_strategy": "steps", "save_steps": "2"}
    run(config(max_steps="3", output_dir=str(tmp_path / "one"), **shared))
    run(config(max_steps="2", output_dir=str(tmp_path / "two"), **shared))
    run(config(max_steps="3", output_dir=str(tmp_path / "two"), resume_from_checkpoint="true", **shared))
    one, two = (load_file(tmp_path / each / "adapter_model.safetensors") for each in ("one", "two"))
    assert all(one[name].equal(two[name]) for name in one)
