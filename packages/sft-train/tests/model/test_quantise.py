from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from sft_schema import ConfigError, SftConfig
from sft_schema.config import AdapterSection, QuantisationSection
from sft_schema.config.quantise import BitsAndBytesSettings
from sft_train import optional
from sft_train.adapter import add_adapter, start_at_lost_part
from sft_train.compute import Compute
from sft_train.model import load_model, quantisation, weights_of
from sft_train.run import run
from sft_train.testing import tiny_model

pytest.importorskip("bitsandbytes")

MakeConfig = Callable[..., SftConfig]
CPU = Compute(bf16=False, use_cpu=True)
IDS = torch.tensor([[5, 6, 7, 40, 41, 42]])
QLORA = {"adapter": "qlora", "load_in_4bit": "true", "lora_target_linear": "true", "lora_r": "4"}
INT8 = {"adapter": "lora", "load_in_8bit": "true", "lora_target_linear": "true", "lora_r": "4"}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("wide"), hidden=64)


def made(bits: int, compute: Compute = CPU, **settings: Any) -> BitsAndBytesConfig:
    cfg = QuantisationSection(
        load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_config_kwargs=BitsAndBytesSettings(**settings)
    )
    found = quantisation(cfg, compute)
    assert found is not None
    return found


def loaded(folder: Path, config: Callable[..., SftConfig], quantised: BitsAndBytesConfig) -> Any:
    return load_model(config(base_model=str(folder)), 1, CPU, quantised)


def test_without_the_switches_nothing_is_quantised() -> None:
    assert quantisation(QuantisationSection(), CPU) is None


@pytest.mark.parametrize(("bits", "kind"), [(4, "Linear4bit"), (8, "Linear8bitLt")])
def test_linear_layers_are_quantised_and_the_rest_is_float32(
    config: MakeConfig, wide: Path, bits: int, kind: str
) -> None:
    model = loaded(wide, config, made(bits))
    assert type(model.model.layers[0].mlp.up_proj).__name__ == kind
    assert type(model.lm_head) is torch.nn.Linear
    others = [p for n, p in model.named_parameters() if "proj" not in n]
    assert {each.dtype for each in others} == {torch.float32}


def test_settings_of_4_bits_reach_the_layers(config: MakeConfig, wide: Path) -> None:
    quantised = made(
        4,
        bnb_4bit_quant_type="fp4",
        bnb_4bit_use_double_quant=False,
        bnb_4bit_compute_dtype="bfloat16",
        bnb_4bit_quant_storage="bfloat16",
        llm_int8_skip_modules=("q_proj",),
    )
    attention = loaded(wide, config, quantised).model.layers[0].self_attn
    weight = attention.v_proj.weight
    assert (weight.quant_type, weight.quant_state.nested, weight.dtype) == ("fp4", False, torch.bfloat16)
    assert attention.v_proj.compute_dtype == torch.bfloat16
    assert type(attention.q_proj) is torch.nn.Linear


def test_products_follow_what_the_run_computes_in() -> None:
    assert made(4).bnb_4bit_compute_dtype == torch.float32
    assert made(4, Compute(bf16=True, use_cpu=True)).bnb_4bit_compute_dtype == torch.bfloat16
    assert made(8, llm_int8_threshold=3.0).llm_int8_threshold == 3.0


def test_packed_weights_are_counted_one_by_one(config: MakeConfig, wide: Path) -> None:
    plain, packed = load_model(config(base_model=str(wide)), 1, CPU), loaded(wide, config, made(4))
    count = [sum(weights_of(each) for each in model.parameters()) for model in (plain, packed)]
    assert count[0] == count[1]


def test_gradients_pass_through_4_bit_layers_after_an_evaluation(config: MakeConfig, wide: Path) -> None:
    """On a CPU bitsandbytes would pack the weights anew in evaluation, and cut the gradient off in training."""

    def gradient(*, evaluated: bool) -> torch.Tensor:
        torch.manual_seed(1)
        cfg = AdapterSection(adapter="qlora", lora_target_linear=True)
        model: Any = add_adapter(loaded(wide, config, made(4)), cfg)
        for name, each in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.constant_(each, 0.01)
        if evaluated:
            with torch.no_grad():
                model.eval()(IDS)
        model.train()(input_ids=IDS, labels=IDS).loss.backward()
        return next(each.grad for name, each in model.named_parameters() if "lora_A" in name)

    assert gradient(evaluated=True).equal(gradient(evaluated=False))


def test_a_model_without_linear_layers_to_quantise_is_refused(config: MakeConfig, wide: Path) -> None:
    every = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj")
    with pytest.raises(ConfigError, match=r"no linear layer[\s\S]*load_in_8bit: false"):
        loaded(wide, config, made(8, llm_int8_skip_modules=every))


def test_without_bitsandbytes_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(ConfigError, match=r"load_in_4bit[\s\S]*sft-train\[bitsandbytes\]"):
        made(4)


@pytest.mark.parametrize("settings", [QLORA, INT8], ids=["4bit", "8bit"])
def test_run_on_a_quantised_base_learns_and_its_adapter_gives_the_same_outputs_when_loaded(
    config: MakeConfig, wide: Path, settings: dict[str, str]
) -> None:
    cfg = config(base_model=str(wide), num_epochs="4", learning_rate="1e-2", **settings)
    summary = run(cfg)
    assert summary.train_loss_last < 0.9 * summary.train_loss_first
    quantised = quantisation(cfg, CPU)
    again = [PeftModel.from_pretrained(load_model(cfg, 1, CPU, quantised), cfg.output_dir).eval() for _ in range(2)]
    bare = load_model(cfg, 1, CPU, quantised).eval()
    with torch.no_grad():
        first, second, without = (model(IDS).logits for model in (*again, bare))
    assert first.equal(second)
    assert (first - without).abs().max() > 0.1
    saved = load_file(Path(cfg.output_dir) / "adapter_model.safetensors")
    assert all("lora_" in name for name in saved)
    with torch.no_grad():
        by_name = AutoModelForCausalLM.from_pretrained(cfg.output_dir, quantization_config=quantised)
        # As it is loaded here, a 4-bit model rounds in evaluation on some CPUs, and an 8-bit one in training.
        torch.testing.assert_close(by_name.train("load_in_8bit" not in settings)(IDS).logits, first)


def test_resumed_qlora_run_ends_with_the_weights_of_an_uninterrupted_one(
    config: MakeConfig, wide: Path, tmp_path: Path
) -> None:
    settings = {
        "base_model": str(wide),
        "save_strategy": "steps",
        "save_steps": "2",
        "lr_scheduler": "constant",
        **QLORA,
    }
    parts = {"output_dir": str(tmp_path / "parts"), **settings}
    run(config(max_steps="2", **parts))
    run(config(max_steps="4", resume_from_checkpoint="true", **parts))
    straight = config(max_steps="4", output_dir=str(tmp_path / "straight"), **settings)
    run(straight)
    one, two = (load_file(tmp_path / each / "adapter_model.safetensors") for each in ("parts", "straight"))
    assert all(one[name].equal(two[name]) for name in one)
    with pytest.raises(ConfigError, match=r"bnb_config_kwargs was[\s\S]*nf4[\s\S]*fp4"):
        run(
            config(
                max_steps="4",
                resume_from_checkpoint="true",
                bnb_config_kwargs="{bnb_4bit_quant_type: fp4}",
                **parts,
            )
        )


def test_loftq_starts_at_what_4_bits_have_lost(config: MakeConfig, wide: Path) -> None:
    cfg = AdapterSection(adapter="qlora", lora_target_linear=True, lora_r=16, peft_init_lora_weights="loftq")
    model: Any = add_adapter(loaded(wide, config, made(4)), cfg)
    before = load_file(wide / "model.safetensors")
    start_at_lost_part(model, before.items(), seed=1)
    for name in ("layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"):
        layer = model.get_base_model().model.get_submodule(name)
        lost = before[f"model.{name}.weight"] - optional.dequantised(layer.get_base_layer().weight)
        found = lost - layer.get_delta_weight("default")
        best = torch.linalg.svdvals(lost)[16:].square().sum().sqrt()  # Eckart and Young: no rank 16 comes closer
        assert best <= found.norm() * 1.0001 < 1.05 * best < 0.9 * lost.norm()
    with pytest.raises(ConfigError, match=r"lack the weights of 14 layers, such as model\.layers\.0"):
        start_at_lost_part(model, [], seed=1)


def test_a_run_with_loftq_begins_closer_to_the_base_model(config: MakeConfig, wide: Path) -> None:
    def first_loss(name: str, **settings: str) -> float:
        out = f"{config().output_dir}-{name}"
        return run(config(base_model=str(wide), max_steps="1", output_dir=out, **settings)).train_loss_first or 0.0

    full, plain = first_loss("full"), first_loss("plain", **QLORA)
    loftq = first_loss("loftq", **QLORA | {"lora_r": "32", "peft_init_lora_weights": "loftq"})
    assert abs(loftq - full) < abs(plain - full)
