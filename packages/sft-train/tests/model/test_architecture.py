from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft_schema import ConfigError, SftConfig
from sft_train.compute import Compute
from sft_train.model import check_architecture
from sft_train.run import run

CPU = Compute(bf16=False, use_cpu=True)
MakeConfig = Callable[..., SftConfig]
ALONE = {"sample_packing": "false", "micro_batch_size": "1", "eval_batch_size": "1"}


def model_of(folder: Path, **values: Any) -> str:
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return str(folder)


def refusal(cfg: SftConfig) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        check_architecture(cfg, CPU)
    return caught.value


def test_a_model_that_the_backend_can_compute_passes(config: MakeConfig) -> None:
    check_architecture(config(), CPU)


@pytest.mark.parametrize("setting", ["sample_packing: true", "micro_batch_size: 2", "eval_batch_size: 3"])
def test_a_model_that_carries_state_must_not_share_rows(config: MakeConfig, tmp_path: Path, setting: str) -> None:
    key, value = setting.split(": ")
    mamba = model_of(tmp_path, model_type="mamba2")
    (issue,) = refusal(config(base_model=mamba, **ALONE | {key: value})).issues
    assert (issue.code, issue.path) == ("packing_leaks", (key,))
    assert "mamba2: its state-space layers carry their state from one sample into the next" in issue.message
    check_architecture(config(base_model=mamba, **ALONE), CPU)


def test_layers_of_the_model_decide_not_its_name(config: MakeConfig, tmp_path: Path) -> None:
    attention = model_of(tmp_path, model_type="lfm2", num_hidden_layers=2, layer_types=["full_attention"] * 2)
    check_architecture(config(base_model=attention), CPU)
    mixed = model_of(tmp_path, model_type="lfm2", num_hidden_layers=2, layer_types=["conv", "full_attention"])
    assert "convolutions reach" in str(refusal(config(base_model=mixed)))


def test_scores_that_are_capped_need_a_backend_that_caps(config: MakeConfig, tmp_path: Path) -> None:
    gemma = model_of(tmp_path, model_type="gemma2", attn_logit_softcapping=50.0)
    (issue,) = refusal(config(base_model=gemma)).issues
    assert issue.message.startswith("sdpa has no softcap")
    assert issue.fix.startswith("set `attn_implementation` to one of eager")
    assert "sdpa" not in issue.fix
    check_architecture(config(base_model=gemma, attn_implementation="eager"), CPU)


def test_the_run_stops_before_it_prepares_data(config: MakeConfig, tmp_path: Path) -> None:
    cfg = config(base_model=model_of(tmp_path, model_type="rwkv"), dataset_prepared_path=str(tmp_path / "prepared"))
    with pytest.raises(ConfigError, match="rwkv: its recurrent layers"):
        run(cfg)
    assert not (tmp_path / "prepared").exists()


def test_a_model_without_a_config_is_named(config: MakeConfig, tmp_path: Path) -> None:
    (issue,) = refusal(config(base_model=str(tmp_path))).issues
    assert (issue.code, issue.path) == ("model_not_loaded", ("base_model",))
