"""Workers that put batches together, the profiler, and settings of several processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from sft_data import prepare
from sft_schema import SftConfig
from sft_train.compute import Compute
from sft_train.model import load_model, load_tokenizer
from sft_train.run import run
from sft_train.trainer import SftTrainer, training_arguments

MakeConfig = Callable[..., SftConfig]


def weights(cfg: SftConfig) -> dict[str, Any]:
    return load_file(Path(cfg.output_dir) / "model.safetensors")


def profiled_steps(trace: Path) -> int:
    events = json.loads(trace.read_text())["traceEvents"]
    return sum(each.get("name", "").startswith("Optimizer.step#") for each in events)


@pytest.mark.parametrize(("start", "steps", "found"), [(0, 2, 2), (1, 1, 1), (2, 5, 2), (9, 1, None)])
def test_the_profiler_traces_just_the_steps_that_it_is_asked_for(
    config: MakeConfig, start: int, steps: int, found: int | None
) -> None:
    cfg = config(max_steps="4", save_strategy='"no"', profiler_steps=str(steps), profiler_steps_start=str(start))
    run(cfg)
    trace = Path(cfg.output_dir) / "profiler_trace.json"
    assert trace.exists() is (found is not None)
    assert found is None or profiled_steps(trace) == found
    account = trace.with_name("profiler_summary.json")
    assert account.exists() is (found is not None)
    assert found is None or json.loads(account.read_text())["steps"] == found
    assert not (Path(cfg.output_dir) / "snapshot.pickle").exists(), "there is no GPU to take it from"


def test_a_resumed_run_that_is_beyond_profiles_its_own_first_steps(config: MakeConfig) -> None:
    run(config(max_steps="3", save_steps="3"))
    cfg = config(max_steps="6", save_steps="3", resume_from_checkpoint="true", profiler_steps="2")
    run(cfg)
    assert profiled_steps(Path(cfg.output_dir) / "profiler_trace.json") == 2


def test_workers_change_who_makes_the_batches_and_nothing_else(config: MakeConfig, tmp_path: Path) -> None:
    alone = config(num_epochs="2", save_steps="7")
    helped = config(
        num_epochs="2",
        save_steps="7",
        dataloader_num_workers="2",
        dataloader_prefetch_factor="3",
        output_dir=str(tmp_path / "helped"),
    )
    run(alone)
    run(helped)
    one, two = weights(alone), weights(helped)
    assert all(one[name].equal(two[name]) for name in one)
    resumed = config(
        num_epochs="2",
        save_steps="7",
        dataloader_num_workers="2",
        output_dir=str(tmp_path / "resumed"),
        resume_from_checkpoint=str(tmp_path / "helped" / "checkpoint-7"),
    )
    run(resumed)
    assert all(one[name].equal(each) for name, each in weights(resumed).items())


@pytest.mark.parametrize(
    ("given", "use_cpu", "pinned"), [("true", False, True), ("false", False, False), ("true", True, False)]
)
def test_the_loader_is_set_as_the_config_says(config: MakeConfig, given: str, use_cpu: bool, pinned: bool) -> None:
    cfg = config(dataloader_num_workers="2", dataloader_prefetch_factor="3", dataloader_pin_memory=given)
    args = training_arguments(cfg, Compute(bf16=False, use_cpu=use_cpu))
    prepared, model = prepare(cfg), load_model(cfg, 1, Compute(bf16=False, use_cpu=True))
    tokenizer = load_tokenizer(cfg, prepared.tokenizer, model)
    loader = SftTrainer(
        model, args, cfg=cfg, prepared=prepared, tokenizer=tokenizer, callbacks=[]
    ).get_train_dataloader()
    assert (loader.num_workers, loader.prefetch_factor, loader.pin_memory) == (2, 3, pinned)


def test_settings_of_several_processes_reach_the_trainer(config: MakeConfig) -> None:
    wanted = {
        "ddp_timeout": 600,
        "ddp_find_unused_parameters": True,
        "ddp_bucket_cap_mb": 5,
        "ddp_broadcast_buffers": False,
    }
    cfg = config(**{name: json.dumps(value) for name, value in wanted.items()})
    args = training_arguments(cfg, Compute(bf16=False, use_cpu=True))
    assert {name: getattr(args, name) for name in wanted} == wanted
    assert training_arguments(config(), Compute(bf16=False, use_cpu=True)).ddp_timeout == 86400
