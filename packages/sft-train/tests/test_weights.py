"""What weights are held in: frozen ones may be bfloat16, trained ones are float32 unless the config says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sft_schema import ConfigError, SftConfig
from sft_train.adapter import add_adapter
from sft_train.compute import hold_trained_in_float32, resolve_compute
from sft_train.export import merge_adapter, read_adapter, read_base
from sft_train.model import load_model
from sft_train.run import run

MakeConfig = Callable[..., SftConfig]
LORA = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "4"}
HALVES = {"bf16": "true", "attn_implementation": "sdpa"}


def formats(cfg: SftConfig) -> dict[bool, set[torch.dtype]]:
    """Of frozen (False) and of trained weights (True)."""
    model = add_adapter(load_model(cfg, 1, resolve_compute(cfg)), cfg)
    hold_trained_in_float32(model, cfg)
    found: dict[bool, set[torch.dtype]] = {}
    for weight in model.parameters():
        found.setdefault(weight.requires_grad, set()).add(weight.dtype)
    return found


SINGLE, HALF = {torch.float32}, {torch.bfloat16}
TRAINED_HEAD = {"lora_modules_to_save": "[lm_head, embed_tokens]"}


@pytest.mark.parametrize(
    ("settings", "trained", "frozen"),
    [
        (HALVES, SINGLE, None),
        (HALVES | {"dtype": "float32"}, SINGLE, None),
        (HALVES | {"dtype": "bfloat16"}, HALF, None),
        (HALVES | LORA, SINGLE, HALF),
        (HALVES | LORA | TRAINED_HEAD, SINGLE, HALF),
        (HALVES | LORA | {"dtype": "bfloat16"}, SINGLE, HALF),
        (HALVES | LORA | {"dtype": "float32"}, SINGLE, SINGLE),
        (LORA | {"bf16": "false"}, SINGLE, SINGLE),
        (LORA | {"bf16": "false", "dtype": "float32"}, SINGLE, SINGLE),
    ],
)
def test_trained_weights_are_held_in_float32_and_frozen_ones_in_what_is_computed_in(
    settings: dict[str, str], trained: set[torch.dtype], frozen: set[torch.dtype] | None, config: MakeConfig
) -> None:
    found = formats(config(**settings))
    assert found == ({True: trained} if frozen is None else {True: trained, False: frozen})


def test_bfloat16_is_refused_where_the_machine_computes_in_float32(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"computes in float32 on this machine[\s\S]*dtype: auto"):
        resolve_compute(config(dtype="bfloat16"))


@pytest.mark.parametrize("further", [{}, TRAINED_HEAD, {"fused_kernels": "true"}, {"chunked_cross_entropy": "true"}])
def test_an_adapter_on_weights_in_bfloat16_trains_as_one_on_float32(
    further: dict[str, str], config: MakeConfig, tmp_path: Path
) -> None:
    losses: dict[str, tuple[float, float]] = {}
    for dtype in ("float32", "auto"):
        settings = HALVES | LORA | further | {"dtype": dtype, "max_steps": "4", "output_dir": str(tmp_path / dtype)}
        summary = run(config(**settings))
        losses[dtype] = (summary.train_loss_first, summary.train_loss_last)
    assert losses["auto"] == pytest.approx(losses["float32"], rel=2e-2)
    assert losses["auto"][1] < losses["auto"][0]
    saved = load_file(tmp_path / "auto" / "adapter_model.safetensors")
    assert {weight.dtype for weight in saved.values()} == SINGLE


def test_an_adapter_on_weights_in_bfloat16_merges_into_those_that_are_stored(
    config: MakeConfig, model_folder: Path, tmp_path: Path
) -> None:
    cfg = config(**HALVES, **LORA, max_steps="2")
    run(cfg)
    merge_adapter(read_adapter(Path(cfg.output_dir)), read_base(str(model_folder)), tmp_path / "merged")
    stored = load_file(model_folder / "model.safetensors")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert {weight.dtype for weight in merged.values()} == SINGLE
    assert merged["model.norm.weight"].equal(stored["model.norm.weight"])


def test_all_weights_train_in_bfloat16_where_that_is_asked_for(config: MakeConfig) -> None:
    cfg = config(**HALVES, dtype="bfloat16", max_steps="4")
    summary = run(cfg)
    assert summary.train_loss_last < summary.train_loss_first
    saved = load_file(Path(cfg.output_dir) / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == HALF
