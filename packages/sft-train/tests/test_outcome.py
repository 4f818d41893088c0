"""Which weights are the result, which checkpoints are kept, and what ends a run early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from sft_schema import ConfigError, SftConfig, TrainingError
from sft_schema.record import RunSummary
from sft_train.callback import read_metrics
from sft_train.observer import Silent
from sft_train.run import run

MakeConfig = Callable[..., SftConfig]


class Stages(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def restless(config: MakeConfig, data_folder: Path) -> MakeConfig:
    """A learning rate so high that the held-out loss falls, rises and falls again, step by step."""

    def make(**settings: str) -> SftConfig:
        heldout = f"[{{path: {data_folder / 'heldout.jsonl'}}}]"
        given = {"test_datasets": heldout, "learning_rate": "6e-2", "lr_scheduler": "constant", "max_steps": "4"}
        return config(**given | {"save_steps": "1", "eval_steps": "1"} | settings)

    return make


def held_out_losses(folder: Path) -> dict[int, float]:
    """By step, from 1; of two at one step the first, which is that of training."""
    lines = [line for line in read_metrics(folder / "metrics.jsonl") if "eval_loss" in line and line["step"] > 0]
    return {line["step"]: line["eval_loss"] for line in reversed(lines)}


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")


def same(one: Path, two: Path) -> bool:
    a, b = weights(one), weights(two)
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(each.name.split("-")[1]) for each in folder.glob("checkpoint-*"))


def test_the_best_weights_are_the_result_and_their_checkpoint_outlives_later_ones(restless: MakeConfig) -> None:
    cfg = restless(load_best_model_at_end="true", save_total_limit="1")
    stages = Stages()
    summary = run(cfg, stages)
    out, losses = Path(cfg.output_dir), held_out_losses(Path(cfg.output_dir))
    best = min(losses, key=lambda step: losses[step])
    assert best < summary.steps == 4, "these data do not tell the best from the last"
    assert summary.best_step == best
    assert same(out, out / f"checkpoint-{best}")
    assert summary.eval_loss_after == losses[best] != losses[4]
    assert any(f"weights of step {best}" in text for text in stages.said)
    assert RunSummary.model_validate_json((out / "summary.json").read_text()).best_step == best


def test_without_it_the_last_weights_are_the_result(restless: MakeConfig) -> None:
    cfg = restless()
    summary = run(cfg)
    assert (summary.best_step, summary.eval_loss_after) == (None, held_out_losses(Path(cfg.output_dir))[4])
    assert same(Path(cfg.output_dir), Path(cfg.output_dir) / "checkpoint-4")


def test_the_best_is_looked_for_among_the_saved(restless: MakeConfig) -> None:
    """Step 3 is better than 2 and 4, but has no checkpoint."""
    cfg = restless(load_best_model_at_end="true", save_steps="2")
    summary = run(cfg)
    losses = held_out_losses(Path(cfg.output_dir))
    assert min(losses, key=lambda step: losses[step]) == 3
    assert summary.best_step == min((2, 4), key=lambda step: losses[step])
    assert same(Path(cfg.output_dir), Path(cfg.output_dir) / f"checkpoint-{summary.best_step}")


def test_a_best_adapter_is_brought_back(restless: MakeConfig) -> None:
    lora = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "8", "learning_rate": "0.3"}
    cfg = restless(load_best_model_at_end="true", max_steps="6", **lora)
    summary = run(cfg)
    losses = held_out_losses(Path(cfg.output_dir))
    assert summary.best_step == min(losses, key=lambda step: losses[step])
    out = Path(cfg.output_dir)
    saved, best = (
        load_file(folder / "adapter_model.safetensors") for folder in (out, out / f"checkpoint-{summary.best_step}")
    )
    assert all(saved[name].equal(best[name]) for name in best)
    assert summary.eval_loss_after == losses[summary.best_step]


def test_early_stopping_ends_a_run_and_its_resumed_half_at_the_same_step(restless: MakeConfig) -> None:
    cfg = restless(early_stopping_patience="1", max_steps="9", save_total_limit="9")
    stages = Stages()
    whole = run(cfg, stages)
    out, losses = Path(cfg.output_dir), held_out_losses(Path(cfg.output_dir))
    rises = next(step for step in sorted(losses) if step > 1 and losses[step] >= losses[step - 1])
    assert whole.steps == rises < 9
    assert whole.best_step == rises - 1
    assert any(text.startswith(f"stopping at step {rises}: the held-out loss was lowest") for text in stages.said)

    settings = {"early_stopping_patience": "2", "max_steps": "9", "output_dir": str(out / "patient")}
    patient = run(restless(**settings))
    assert patient.steps > rises
    again = restless(**settings | {"output_dir": str(out / "again")}, resume_from_checkpoint=str(out / "checkpoint-2"))
    assert run(again).steps == patient.steps
    assert same(out / "again", out / "patient")


def test_an_early_stop_that_was_saved_but_not_finished_goes_no_further(restless: MakeConfig) -> None:
    """As after a kill between the last checkpoint and the saving of the result."""
    settings = {"early_stopping_patience": "1", "max_steps": "9", "save_total_limit": "9"}
    cfg = restless(**settings)
    whole = run(cfg)
    out = Path(cfg.output_dir)
    lines = read_metrics(out / "metrics.jsonl")
    before = weights(out)
    again = run(restless(**settings, resume_from_checkpoint="true"))
    assert (again.steps, again.best_step, again.eval_loss_after) == (
        whole.steps,
        whole.best_step,
        whole.eval_loss_after,
    )
    assert again.resumed_from == str(out / f"checkpoint-{whole.steps}")
    assert all(before[name].equal(each) for name, each in weights(out).items())
    assert read_metrics(out / "metrics.jsonl") == lines


def test_save_strategy_best_saves_each_new_lowest_loss_and_such_a_run_resumes_exactly(restless: MakeConfig) -> None:
    settings = {"save_strategy": "best", "save_steps": "null", "max_steps": "6", "logging_steps": "4"}
    cfg = restless(**settings, save_total_limit="9")
    run(cfg)
    out, losses = Path(cfg.output_dir), held_out_losses(Path(cfg.output_dir))
    lowest = [step for step in sorted(losses) if all(losses[step] < losses[each] for each in range(1, step))]
    assert checkpoints(out) == lowest
    assert 0 < len(lowest) < 6
    later = restless(**settings, output_dir=str(out / "later"), resume_from_checkpoint=str(out / "checkpoint-2"))
    run(later)
    assert same(out, out / "later")
    of_training = ("loss", "grad_norm", "eval_loss")
    one, two = (
        [
            {key: line[key] for key in of_training if key in line}
            for line in read_metrics(folder / "metrics.jsonl")
            if line["step"] > 2
        ]
        for folder in (out, out / "later")
    )
    assert one == two


def test_save_first_step_writes_a_checkpoint_besides_the_others(config: MakeConfig) -> None:
    cfg = config(max_steps="3", save_steps="3", save_first_step="true")
    run(cfg)
    assert checkpoints(Path(cfg.output_dir)) == [1, 3]


def test_a_checkpoint_of_the_model_alone_is_refused_by_name(config: MakeConfig) -> None:
    cfg = config(max_steps="2", save_steps="1", save_only_model="true")
    run(cfg)
    out = Path(cfg.output_dir)
    assert {each.name for each in (out / "checkpoint-1").iterdir()} >= {"model.safetensors", "trainer_state.json"}
    assert not [*(out / "checkpoint-1").glob("*.pt"), *(out / "checkpoint-1").glob("*.pth")]
    for wanted in ("true", str(out / "checkpoint-1")):
        with pytest.raises(ConfigError, match="holds the model alone") as caught:
            run(config(max_steps="3", save_steps="1", resume_from_checkpoint=wanted))
        assert "optimizer.pt is missing" not in str(caught.value)
    assert checkpoints(out) == [1, 2]


def test_the_watchdog_names_steps_and_losses_and_leaves_the_checkpoints(config: MakeConfig) -> None:
    cfg = config(max_steps="6", save_steps="1", loss_watchdog_threshold="0.5", loss_watchdog_patience="3")
    with pytest.raises(TrainingError, match=r"threshold 0.5: [\d.]+ at step 1, [\d.]+ at step 2, [\d.]+ at step 3"):
        run(cfg)
    out = Path(cfg.output_dir)
    assert checkpoints(out) == [1, 2]
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl")] == [1, 2, 3]
    again = config(max_steps="6", save_steps="1", loss_watchdog_threshold="0.5", resume_from_checkpoint="true")
    with pytest.raises(TrainingError, match="at step 3"):
        run(again)


def test_the_watchdog_lets_a_loss_pass_that_falls_in_time(config: MakeConfig) -> None:
    first = config(max_steps="3", save_strategy='"no"')
    run(first)
    losses = [line["loss"] for line in read_metrics(Path(first.output_dir) / "metrics.jsonl")]
    assert losses[2] < losses[1]
    between = (losses[1] + losses[2]) / 2
    cfg = config(max_steps="3", save_strategy='"no"', loss_watchdog_threshold=f"{between}", loss_watchdog_patience="3")
    assert run(cfg).steps == 3
