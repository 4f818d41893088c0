"""Real runs of a tiny model: what is wrong is named, and nothing is where nothing is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sft_schema import SftConfig, TrainingError
from sft_schema.record import RunSummary
from sft_train.callback import read_metrics
from sft_train.checkpoint.manifest import write_manifest
from sft_train.observer import Silent
from sft_train.run import run
from sft_train.testing import tiny_model, write_conversations

MakeConfig = Callable[..., SftConfig]
LORA = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "8", "learning_rate": "5e-3"}


class Stages(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        if text.startswith("health: "):
            self.said.append(text)


@pytest.fixture
def make(config: MakeConfig, data_folder: Path) -> MakeConfig:
    held_out = f"[{{path: {data_folder / 'heldout.jsonl'}}}]"

    def make(*, held: bool = False, **settings: str) -> SftConfig:
        given = {"save_strategy": '"no"'}
        if held:
            given |= {"test_datasets": held_out, "eval_strategy": "steps", "eval_steps": "5"}
        return config(**given | settings)

    return make


def found(cfg: SftConfig) -> list[str]:
    return [each.code for each in run(cfg).findings]


HEALTHY: dict[str, dict[str, Any]] = {
    "all_weights": {"held": True},
    "random_weights": {"reinit_weights": "true", "seed": "7", "lr_scheduler": "linear", "warmup_ratio": "0.1"},
    "lora": {"held": True, **LORA},
    "dora": {"peft_use_dora": "true", "warmup_steps": "3", "seed": "3", **LORA},
    "unpacked": {"sample_packing": "false", "micro_batch_size": "4", "lr_scheduler": "constant"},
    "bf16_accumulated": {"bf16": "true", "gradient_accumulation_steps": "2", "logging_steps": "3", "seed": "11"},
}


@pytest.mark.parametrize("settings", HEALTHY.values(), ids=HEALTHY.keys())
def test_nothing_is_named_in_a_healthy_run(make: MakeConfig, settings: dict[str, Any]) -> None:
    cfg = make(max_steps="30", **settings)
    stages = Stages()
    summary = run(cfg, stages)
    assert summary.train_loss_last < 0.95 * summary.train_loss_first, "this run is not healthy"
    assert (summary.findings, stages.said) == ((), [])
    assert not any("finding" in line for line in read_metrics(Path(cfg.output_dir) / "metrics.jsonl"))


SICK: dict[str, tuple[str, dict[str, Any]]] = {
    "a rate far too high": ("loss_diverged", {"learning_rate": "9", "max_steps": "5"}),
    "a rate far too low": ("loss_flat", {"learning_rate": "1e-6", "max_steps": "40"}),
    "a rate that moves no weight": ("weights_frozen", {"learning_rate": "1e-30", "max_steps": "3"}),
    "a schedule that is flat": ("rate_flat", {"cosine_min_lr_ratio": "1.0", "max_steps": "14"}),
    "a warm-up longer than the run": ("warmup_too_long", {"warmup_steps": "9", "max_steps": "4"}),
    "rows of weights that no token has": (
        "grad_zero",
        {"unfrozen_parameters": "['^model.embed_tokens.weight$[262:264]']", "weight_decay": "0", "max_steps": "2"},
    ),
}


@pytest.mark.parametrize(("code", "settings"), SICK.values(), ids=SICK.keys())
def test_what_is_wrong_with_a_run_is_named(make: MakeConfig, code: str, settings: dict[str, Any]) -> None:
    assert code in found(make(**settings))


def test_rows_learnt_by_heart_are_named(make: MakeConfig, tmp_path: Path) -> None:
    few = write_conversations(tmp_path / "few.jsonl", 8, seed=3)
    settings = {"learning_rate": "1e-2", "lr_scheduler": "constant", "datasets": f"[{{path: {few}}}]"}
    assert "eval_diverging" in found(make(held=True, max_steps="80", **settings))
    one = write_conversations(tmp_path / "one.jsonl", 1, seed=3)
    alone = {**settings, "datasets": f"[{{path: {one}}}]", "output_dir": str(tmp_path / "alone")}
    assert "loss_near_zero" in found(make(max_steps="50", **alone))


def test_rows_that_are_masked_almost_whole_are_named(make: MakeConfig, tmp_path: Path) -> None:
    """Rows without any trained token are refused before training; these have one each, in five hundred."""
    file = tmp_path / "long.jsonl"
    messages = [{"role": "user", "content": "word " * 100}, {"role": "assistant", "content": "a"}]
    file.write_text(f"{json.dumps({'messages': messages})}\n" * 6, encoding="utf-8")
    cfg = make(datasets=f"[{{path: {file}}}]", sequence_len="600", train_on_eos="none", max_steps="6")
    assert "few_trained" in found(cfg)


def test_steps_that_train_nothing_are_named(make: MakeConfig, tmp_path: Path) -> None:
    """`wrapped` cuts these samples just before their only trained token, and the first of a row is never trained."""
    file = tmp_path / "cut.jsonl"
    around = 22  # tokens of a conversation beside its question
    asked = ["x" * (length - around) for length in (130, 129, *[256] * 6)]
    rows = [[{"role": "user", "content": each}, {"role": "assistant", "content": "a"}] for each in asked]
    file.write_text("".join(f"{json.dumps({'messages': row})}\n" for row in rows), encoding="utf-8")
    settings = {"packing_strategy": "wrapped", "shuffle_merged_datasets": "false", "train_on_eos": "none"}
    cfg = make(datasets=f"[{{path: {file}}}]", max_steps="5", **settings)
    (found, *_) = run(cfg).findings
    assert (found.code, found.step) == ("nothing_trained", 2)


def test_adapters_that_do_not_reach_the_loss_are_named(make: MakeConfig, tmp_path: Path) -> None:
    """Attention whose output is multiplied by 0 gives its adapters no gradient."""
    base = tiny_model(tmp_path / "base")
    changed = {n: torch.zeros_like(w) if "o_proj" in n else w for n, w in load_file(base / "model.safetensors").items()}
    save_file(changed, base / "model.safetensors", metadata={"format": "pt"})
    adapter = {"adapter": "lora", "lora_target_modules": "[q_proj, v_proj]", "base_model": str(base)}
    summary = run(make(max_steps="2", weight_decay="0", **adapter))
    assert {each.code for each in summary.findings} == {"grad_zero", "weights_frozen"}
    assert "lora_target_modules" in summary.findings[0].advice
    half = {**adapter, "lora_target_modules": "[q_proj, up_proj]", "output_dir": str(tmp_path / "half")}
    (found,) = run(make(max_steps="3", weight_decay="0", **half)).findings
    assert (found.code, found.sentence[:7]) == ("weights_unused", "4 of 8 ")
    assert "layers.0.self_attn.q_proj.lora_A" in found.sentence


def test_a_finding_is_told_once_and_kept_everywhere(make: MakeConfig) -> None:
    cfg, stages = make(learning_rate="9", max_steps="8"), Stages()
    summary = run(cfg, stages)
    out = Path(cfg.output_dir)
    told = {each.code: each for each in summary.findings}
    assert told["loss_diverged"].step == 3
    assert len(stages.said) == len(told) == len(summary.findings)
    assert told["loss_diverged"].sentence in stages.said[0]
    lines = [line for line in read_metrics(out / "metrics.jsonl") if "finding" in line]
    assert [(line["step"], line["finding"]) for line in lines] == [(each.step, each.code) for each in summary.findings]
    assert RunSummary.model_validate_json((out / "summary.json").read_text()).findings == summary.findings


def test_a_resumed_run_goes_on_with_what_was_found(make: MakeConfig, tmp_path: Path) -> None:
    few = write_conversations(tmp_path / "few.jsonl", 8, seed=3)
    settings = {"learning_rate": "1e-2", "lr_scheduler": "constant", "datasets": f"[{{path: {few}}}]", "held": True}
    settings |= {"save_strategy": "steps", "save_steps": "30", "save_total_limit": "9", "max_steps": "80"}
    whole = make(**settings)
    stages = Stages()
    summary = run(whole, stages)
    assert "eval_diverging" in [each.code for each in summary.findings]
    out = Path(whole.output_dir)
    for step in (30, 60):
        again, heard = tmp_path / f"again{step}", Stages()
        resumed = {"output_dir": str(again), "resume_from_checkpoint": str(out / f"checkpoint-{step}")}
        assert run(make(**settings | resumed), heard).findings == summary.findings
        assert len(heard.said) == sum(each.step > step for each in summary.findings), "told again"


def test_a_checkpoint_from_before_the_monitor_is_resumed(make: MakeConfig) -> None:
    settings = {"save_strategy": "steps", "save_steps": "2", "save_total_limit": "9"}
    cfg = make(max_steps="2", **settings)
    run(cfg)
    file = Path(cfg.output_dir) / "checkpoint-2" / "trainer_state.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    del state["stateful_callbacks"]["HealthMonitor"]
    file.write_text(json.dumps(state), encoding="utf-8")
    write_manifest(file.parent)
    assert run(make(max_steps="4", resume_from_checkpoint="true", **settings)).steps == 4
    again = json.loads((Path(cfg.output_dir) / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8"))
    assert "HealthMonitor" in again["stateful_callbacks"]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A model with one weight that is not a number."""
    base = tiny_model(tmp_path / "broken")
    weights = load_file(base / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 4] = torch.nan
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    return base


@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_a_weight_that_is_not_a_number_is_named_with_batch_rows_and_layer(
    make: MakeConfig, broken: Path, data_folder: Path, adapter: dict[str, str]
) -> None:
    unpacked = {"sample_packing": "false", "shuffle_merged_datasets": "false", "gradient_accumulation_steps": "2"}
    cfg = make(base_model=str(broken), max_steps="2", **unpacked, **adapter)
    place = data_folder / "train.jsonl"
    with pytest.raises(TrainingError) as caught:
        run(cfg)
    assert "norm of the gradient is nan at step 1: first in micro batch 1 of 2" in str(caught.value)
    assert "layers.1.mlp.down_proj" in str(caught.value)
    assert "(its weight holds values that are not finite)" in str(caught.value)
    assert f"its rows are {place}:1\n" in str(caught.value)


def test_a_weight_that_is_not_a_number_is_named_before_training(make: MakeConfig, broken: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"not finite before training: first the output of model\.layers\.1\.mlp\.d"
    ):
        run(make(base_model=str(broken), max_steps="2"))
    with pytest.raises(TrainingError, match=r"held-out loss is nan: first in batch 1 [\s\S]*layers\.1\.mlp\.down_proj"):
        run(cfg := make(base_model=str(broken), max_steps="2", sample_packing="false", held=True))
    (line,) = read_metrics(Path(cfg.output_dir) / "metrics.jsonl")
    assert (line["step"], line["finding"]) == (0, "not_finite")


def test_a_run_that_blows_up_names_rows_and_layer_and_keeps_the_last_checkpoint(
    make: MakeConfig, data_folder: Path
) -> None:
    cfg = make(**LORA | {"learning_rate": "9"}, max_steps="9", save_strategy="steps", save_steps="1")
    with pytest.raises(TrainingError, match=r"at step (\d): first in micro batch 1 of 1, in the") as caught:
        run(cfg)
    assert str(data_folder / "train.jsonl") in str(caught.value)
    assert ".layers." in str(caught.value)
    last = read_metrics(Path(cfg.output_dir) / "metrics.jsonl")[-1]
    assert last["finding"] == "not_finite"
    assert f"{last['sentence']}\n    fix: {last['advice']}" == str(caught.value)
    newest = max(Path(cfg.output_dir).glob("checkpoint-*"), key=lambda each: int(each.name.split("-")[1]))
    kept = load_file(newest / "adapter_model.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in kept.values())
