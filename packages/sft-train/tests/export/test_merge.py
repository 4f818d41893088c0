"""Merged models give the outputs of the adapters they were made from."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel

from sft_schema import ConfigError, DataError, SftConfig
from sft_train.compute import Compute
from sft_train.export import adapter_run, merge_adapter, read_adapter, read_base, verify_merge
from sft_train.export.adapter import Adapter, Change
from sft_train.model import load_model, quantisation
from sft_train.run import run
from sft_train.testing import tiny_model

MakeConfig = Callable[..., SftConfig]
IDS = torch.tensor([[5, 6, 7, 40, 41, 42, 200, 3]])
LORA = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "4", "learning_rate": "1e-2", "max_steps": "6"}
CPU = Compute(bf16=False, use_cpu=True)
needs_bits = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="an extra: bitsandbytes is not installed")


def outputs(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(IDS).logits


def peft_outputs(model: Any, adapter: Path) -> torch.Tensor:
    with torch.no_grad():
        return PeftModel.from_pretrained(model, adapter).eval()(IDS).logits


VARIANTS: dict[str, dict[str, str]] = {
    "lora": {},
    "rslora": {"peft_use_rslora": "true", "lora_alpha": "8"},
    "dora": {"peft_use_dora": "true"},
    "head and embedding whole": {"lora_modules_to_save": "[lm_head, embed_tokens]"},
    "embedding adapted": {"lora_target_modules": "[embed_tokens]"},
    "two layers": {"lora_target_linear": "false", "lora_target_modules": "[q_proj, down_proj]"},
    "orthogonal": {"peft_init_lora_weights": "orthogonal"},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_merged_model_gives_the_outputs_of_its_adapter(
    config: MakeConfig, tmp_path: Path, variant: dict[str, str]
) -> None:
    cfg = config(**LORA | variant)
    run(cfg)
    adapter, base = read_adapter(Path(cfg.output_dir)), read_base(cfg.base_model)
    merged = merge_adapter(adapter, base, tmp_path / "merged")
    wanted = peft_outputs(AutoModelForCausalLM.from_pretrained(cfg.base_model), adapter.folder)
    torch.testing.assert_close(outputs(merged.folder), wanted, rtol=1e-4, atol=1e-4)
    found = verify_merge(adapter, base, merged.folder)
    assert (found.same, found.agreement, found.mismatches) == (True, 1.0, ())
    assert found.difference < 1e-5 < 1e-2 < found.effect
    assert merged.changed == len(adapter.changes) <= merged.weights


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_head_that_is_the_embedding_stays_so_when_trained_whole(
    config: MakeConfig, tmp_path: Path, tied: bool
) -> None:
    base_model = tiny_model(tmp_path / "base", tied=tied)
    cfg = config(**LORA, base_model=str(base_model), lora_modules_to_save="[embed_tokens]")
    run(cfg)
    adapter, base = read_adapter(Path(cfg.output_dir)), read_base(cfg.base_model)
    merged = merge_adapter(adapter, base, tmp_path / "merged")
    assert verify_merge(adapter, base, merged.folder).same
    assert ("lm_head.weight" in load_file(merged.folder / "model.safetensors")) is not tied


def bits(number: int, **more: str) -> dict[str, str]:
    return LORA | {"adapter": "qlora" if number == 4 else "lora", f"load_in_{number}bit": "true"} | more


QUANTISED: dict[str, dict[str, str]] = {
    "nf4": bits(4),
    "fp4, plain scales": bits(4, bnb_config_kwargs="{bnb_4bit_quant_type: fp4, bnb_4bit_use_double_quant: false}"),
    "nf4, dora, a layer kept": bits(4, peft_use_dora="true", bnb_config_kwargs="{llm_int8_skip_modules: [q_proj]}"),
    "int8": bits(8),
}


@needs_bits
@pytest.mark.parametrize("settings", QUANTISED.values(), ids=QUANTISED.keys())
def test_an_adapter_of_a_quantised_base_is_merged_into_what_it_was_trained_on(
    config: MakeConfig, tmp_path: Path, settings: dict[str, str]
) -> None:
    cfg = config(base_model=str(tiny_model(tmp_path / "wide", hidden=64)), **settings | {"max_steps": "12"})
    summary = run(cfg)
    assert summary.train_loss_last < 0.9 * summary.train_loss_first
    quantised = quantisation(cfg, CPU)
    adapter, base = read_adapter(Path(cfg.output_dir)), read_base(cfg.base_model)
    merged = merge_adapter(adapter, base, tmp_path / "merged", quantised)
    wanted = peft_outputs(load_model(cfg, 1, CPU, quantised), adapter.folder)
    apart = float((outputs(merged.folder) - wanted).abs().max() / wanted.abs().max())
    naive = merge_adapter(adapter, base, tmp_path / "naive")
    without = float((outputs(naive.folder) - wanted).abs().max() / wanted.abs().max())
    limit = 1e-4 if "load_in_4bit" in settings else 5e-2
    assert apart < limit
    if "load_in_4bit" in settings:
        assert without > 100 * apart, "merging into the weights on disk would have done as well"
    found = verify_merge(adapter, base, merged.folder, quantised)
    assert found.same
    assert found.difference < found.effect / 5
    assert merged.rounded == (12 if "bnb_config_kwargs" in settings and "q_proj" in str(settings) else 14)
    assert "quantization_config" not in json.loads((merged.folder / "config.json").read_text(encoding="utf-8"))


@needs_bits
@pytest.mark.parametrize("packed", [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}])
def test_a_base_that_is_packed_on_disk_is_unpacked(tmp_path: Path, packed: dict[str, Any]) -> None:
    plain, base_folder = tiny_model(tmp_path / "plain", hidden=64), tiny_model(tmp_path / "packed", hidden=64)
    settings = BitsAndBytesConfig(**packed, bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(plain, quantization_config=settings, dtype=torch.float32)
    model.save_pretrained(base_folder)
    noisy_adapter(AutoModelForCausalLM.from_pretrained(base_folder), tmp_path / "adapter", str(base_folder))
    adapter, base = read_adapter(tmp_path / "adapter"), read_base(str(base_folder))
    merged = merge_adapter(adapter, base, tmp_path / "merged")
    names = set(load_file(merged.folder / "model.safetensors"))
    assert names == set(load_file(plain / "model.safetensors"))
    found = verify_merge(adapter, base, merged.folder)
    assert found.same
    assert found.difference < (1e-4 if "load_in_4bit" in packed else 5e-2) < found.effect


def noisy_adapter(model: Any, folder: Path, base: str, **settings: Any) -> None:
    """Saves an adapter of random numbers."""
    given = {"r": 4, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"} | settings
    adapted = get_peft_model(model, LoraConfig(**given))
    noise = torch.Generator().manual_seed(1)
    for each in adapted.parameters():
        if each.requires_grad:
            each.data += 0.1 * torch.randn(each.shape, generator=noise)
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(folder)


def test_files_stay_as_they_were_cut_and_number_formats_as_they_were(model_folder: Path, tmp_path: Path) -> None:
    base_folder = tiny_model(tmp_path / "base", weights=False)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    model.save_pretrained(base_folder, max_shard_size="30KB")
    noisy_adapter(model.float(), tmp_path / "adapter", str(base_folder))
    adapter, base = read_adapter(tmp_path / "adapter"), read_base(str(base_folder))
    merged = merge_adapter(adapter, base, tmp_path / "merged")
    assert merged.files == len(base.shards) > 2
    for name in base.shards:
        one, two = load_file(base_folder / name), load_file(merged.folder / name)
        assert {key: (each.shape, each.dtype) for key, each in one.items()} == {
            key: (each.shape, each.dtype) for key, each in two.items()
        }
        assert all(one[key].equal(two[key]) for key in one if not key.endswith(("q_proj.weight", "down_proj.weight")))
    index = json.loads((merged.folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert index["weight_map"] == base.places
    assert verify_merge(adapter, base, merged.folder).same


def test_weights_that_are_stored_transposed_are_changed_so(model_folder: Path, tmp_path: Path) -> None:
    """GPT-2's layers, a square one among them, where a mistake would not show in the shape."""
    base_folder = tiny_model(tmp_path / "base", weights=False)
    config = GPT2Config(vocab_size=264, n_embd=32, n_layer=1, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(base_folder)
    for dora in (False, True):
        adapter_folder = tmp_path / f"adapter{dora}"
        settings = {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True, "use_dora": dora}
        noisy_adapter(AutoModelForCausalLM.from_pretrained(base_folder), adapter_folder, str(base_folder), **settings)
        adapter, base = read_adapter(adapter_folder), read_base(str(base_folder))
        merged = merge_adapter(adapter, base, tmp_path / f"merged{dora}")
        assert verify_merge(adapter, base, merged.folder).same


def test_the_verification_sees_what_is_wrong(model_folder: Path, tmp_path: Path) -> None:
    noisy_adapter(AutoModelForCausalLM.from_pretrained(model_folder), tmp_path / "adapter", str(model_folder))
    adapter, base = read_adapter(tmp_path / "adapter"), read_base(str(model_folder))
    found = verify_merge(adapter, base, model_folder)
    assert not found.same
    assert found.difference == pytest.approx(found.effect)
    merged = merge_adapter(adapter, base, tmp_path / "merged")
    (merged.folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    found = verify_merge(adapter, base, merged.folder)
    assert found.difference <= found.allowed
    assert not found.same
    assert len(found.mismatches) == 1
    assert "chat template" in found.mismatches[0]


@pytest.fixture
def saved(model_folder: Path, tmp_path: Path) -> Path:
    noisy_adapter(AutoModelForCausalLM.from_pretrained(model_folder), tmp_path / "adapter", str(model_folder))
    return tmp_path / "adapter"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"peft_type": "LOHA"}, r"'LOHA', not 'LORA'[\s\S]*fix: [\s\S]*merge_and_unload"),
    "a start that changes the base": ({"init_lora_weights": "pissa"}, r"'pissa'[\s\S]*fix: [\s\S]*merge_and_unload"),
    "ranks by layer": ({"rank_pattern": {"q_proj": 8}}, r"rank_pattern[\s\S]*fix: "),
    "tensors of experts": ({"target_parameters": ["experts.down_proj"]}, r"target_parameters[\s\S]*fix: "),
    "biases": ({"bias": "lora_only"}, r"bias 'lora_only'[\s\S]*fix: "),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_adapters_that_are_not_understood_are_refused(saved: Path, changes: dict[str, Any], message: str) -> None:
    file = saved / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_adapter(saved)


def test_what_does_not_fit_is_refused_and_leaves_nothing(saved: Path, model_folder: Path, tmp_path: Path) -> None:
    adapter, out = read_adapter(saved), tmp_path / "merged"
    wide = read_base(str(tiny_model(tmp_path / "wide", hidden=64)))
    with pytest.raises(
        DataError, match=r"down_proj.weight by \[32, 64\], and the base model has \[64, 128\][\s\S]*fix: name"
    ):
        merge_adapter(adapter, wide, out)
    shallow = read_base(str(tiny_model(tmp_path / "shallow", layers=1)))
    with pytest.raises(DataError, match=r"no weight model\.layers\.1\.[\s\S]*fix: name the base model"):
        merge_adapter(adapter, shallow, out)
    assert not [each for each in tmp_path.iterdir() if "merged" in each.name]
    out.mkdir()
    (out / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"not empty[\s\S]*--out"):
        merge_adapter(adapter, read_base(str(model_folder)), out)
    assert (out / "mine.txt").exists()


def test_the_run_of_an_adapter_is_found_beside_it_and_one_without_is_refused(
    config: MakeConfig, saved: Path, tmp_path: Path
) -> None:
    assert adapter_run(saved) == (None, saved)
    cfg = config(**LORA, save_steps="3")
    run(cfg)
    out = Path(cfg.output_dir)
    for source, folder in ((out / "sft_config.yaml", out), (out, out), (out / "checkpoint-3", out / "checkpoint-3")):
        found, where = adapter_run(source)
        assert found is not None
        assert (found.lora_r, where) == (4, folder)
        read_adapter(where)
    run(config(max_steps="1", output_dir=str(tmp_path / "full")))
    with pytest.raises(ConfigError, match=r"trains all weights[\s\S]*holds a whole model"):
        adapter_run(tmp_path / "full")


def test_files_that_are_missing_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no adapter here[\s\S]*output_dir"):
        read_adapter(tmp_path)
    (saved / "adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match=r"adapter_model.safetensors: the adapter's tensors are missing"):
        read_adapter(saved)
    with pytest.raises(DataError, match=r"no model.safetensors[\s\S]*fix: "):
        read_base(str(tiny_model(tmp_path / "bare", weights=False)))


def test_a_half_of_an_adapter_and_a_tied_head_are_refused(saved: Path, tmp_path: Path) -> None:
    file = saved / "adapter_model.safetensors"
    kept = {name: each for name, each in load_file(file).items() if "layers.0.mlp.down_proj.lora_B" not in name}
    save_file(kept, file)
    with pytest.raises(DataError, match=r"\['lora_A'\] for model.layers.0.mlp.down_proj.weight"):
        read_adapter(saved)
    tied, adapter = tiny_model(tmp_path / "tied", tied=True), tmp_path / "on_head"
    settings = {"target_modules": ["embed_tokens"]}
    noisy_adapter(AutoModelForCausalLM.from_pretrained(tied), adapter, str(tied), **settings)
    with pytest.raises(DataError, match=r"the head and the embedding share[\s\S]*fix: "):
        merge_adapter(read_adapter(adapter), read_base(str(tied)), tmp_path / "merged")


@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    rank=st.integers(1, 4),
    scale=st.floats(0.01, 8),
    seed=st.integers(0, 999),
    transposed=st.booleans(),
)
def test_a_dora_merge_has_rows_of_the_length_that_the_magnitude_says(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    columns: int,
    rank: int,
    scale: float,
    seed: int,
    transposed: bool,
) -> None:
    noise = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, columns, generator=noise), torch.randn(rows, rank, generator=noise)
    weight, magnitude = torch.randn(rows, columns, generator=noise), torch.rand(rows, generator=noise) + 0.1
    folder = tmp_path_factory.mktemp("dora")
    save_file({"a": a, "b": b, "m": magnitude}, folder / "adapter_model.safetensors")
    plain, dora = Change({"lora_A": "a", "lora_B": "b"}), Change({"lora_A": "a", "lora_B": "b"})
    dora.parts["lora_magnitude_vector"] = "m"
    adapter = Adapter(folder, "base", None, scale, transposed, {"plain": plain, "dora": dora})
    given_weight = weight.T if transposed else weight
    lora, found = adapter.apply("plain", given_weight), adapter.apply("dora", given_weight)
    assert lora.shape == found.shape == given_weight.shape
    lora, found = (each.T if transposed else each for each in (lora, found))
    torch.testing.assert_close(lora - weight, scale * (b @ a), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.linalg.vector_norm(found, dim=1), magnitude, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(found, lora), torch.ones(rows))
