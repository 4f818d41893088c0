"""Ops of sft-kernels in the layers of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sft_schema import ConfigError, SftConfig
from sft_train.compute import Compute
from sft_train.model import fuse_layers, load_model
from sft_train.run import run

MakeConfig = Callable[..., SftConfig]
CPU = Compute(bf16=False, use_cpu=True)
RUN = {"max_steps": "3", "save_strategy": "'no'", "bf16": "false"}
ALL = {"rope": 2, "rms_norm": 5, "glu": 2}


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU `auto` replaces layers too")
def test_training_with_fused_layers_goes_the_same_way_and_the_summary_says_which(config: MakeConfig) -> None:
    plain = run(config(**RUN))
    cfg = config(**RUN, fused_kernels="true")
    fused = run(cfg)
    assert (plain.fused_layers, fused.fused_layers) == ({}, ALL)
    assert fused.train_loss_last == pytest.approx(plain.train_loss_last, rel=1e-4)
    written = json.loads((Path(cfg.output_dir) / "summary.json").read_text())
    assert written["fused_layers"] == ALL
    assert written["layers_not_fused"] == {}


@pytest.mark.parametrize(
    ("setting", "use_cpu", "replaced"),
    [("auto", True, {}), ("false", False, {}), ("[]", True, {}), ("true", True, ALL), ("[glu]", True, {"glu": 2})],
)
def test_the_setting_says_what_is_replaced(
    setting: str, use_cpu: bool, replaced: dict[str, int], config: MakeConfig
) -> None:
    cfg = config(fused_kernels=setting)
    model = load_model(cfg, cfg.seed, CPU)
    assert fuse_layers(model, cfg, Compute(bf16=False, use_cpu=use_cpu)).replaced == replaced


def test_on_a_gpu_auto_is_all_after_a_trial_there(config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, str]] = []
    monkeypatch.setattr("sft_kernels.replace.trial", lambda op, device: tried.append((op, device)))
    cfg = config()
    model = load_model(cfg, cfg.seed, CPU)
    assert fuse_layers(model, cfg, Compute(bf16=True, use_cpu=False)).replaced == ALL
    assert set(tried) == {(op, "cuda") for op in ALL}


def test_an_op_that_fits_nothing_is_refused_when_it_was_asked_for(config: MakeConfig) -> None:
    cfg = config(fused_kernels="[rms_norm, layer_norm]")
    model = load_model(cfg, cfg.seed, CPU)
    with pytest.raises(ConfigError, match="nothing in this model can be replaced by layer_norm"):
        fuse_layers(model, cfg, CPU)
    with pytest.raises(ConfigError, match="none of qk_norm_rope, rope"):
        fuse_layers(torch.nn.Sequential(), config(fused_kernels="true"), CPU)
