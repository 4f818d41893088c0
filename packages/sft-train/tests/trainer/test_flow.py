"""When a run logs, evaluates and saves: by step, by fraction of the run, and so often in each epoch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from sft_schema import SftConfig
from sft_train.callback import read_metrics
from sft_train.run import run
from sft_train.trainer.flow import Moments

MakeConfig = Callable[..., SftConfig]


def steps_of(moments: Moments, steps_per_epoch: int, max_steps: int) -> list[int]:
    return [step for step in range(1, max_steps + 1) if moments.due(step, steps_per_epoch, max_steps)]


@pytest.mark.parametrize("epoch", range(1, 40))
@pytest.mark.parametrize("times", [1, 2, 3, 4, 5, 7, 100])
def test_so_many_times_in_every_epoch_and_always_at_its_end(epoch: int, times: int) -> None:
    found = steps_of(Moments("steps", per_epoch=times), epoch, 3 * epoch)
    by_epoch = [
        [step - start for step in found if start < step <= start + epoch] for start in range(0, 3 * epoch, epoch)
    ]
    assert {len(each) for each in by_epoch} == {min(times, epoch)}
    assert {each[-1] for each in by_epoch} == {epoch}
    assert by_epoch[0] == by_epoch[1] == by_epoch[2]
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_moments_of_a_number_are_among_those_of_its_multiple(saves: int) -> None:
    for epoch in range(1, 50):
        few, many = (steps_of(Moments("steps", per_epoch=each), epoch, 2 * epoch) for each in (saves, 4 * saves))
        assert set(few) <= set(many)


def test_steps_and_fractions_count_over_the_whole_run() -> None:
    assert steps_of(Moments("steps", 4), 6, 10) == [4, 8, 10]
    assert steps_of(Moments("steps", 0.25), 6, 10) == [3, 6, 9, 10]
    assert steps_of(Moments("steps", 0.001), 6, 3) == [1, 2, 3]
    assert steps_of(Moments("no"), 6, 12) == steps_of(Moments("best"), 6, 12) == []


def test_an_epoch_is_saved_at_its_last_step_also_where_the_run_cuts_it_short() -> None:
    assert steps_of(Moments("epoch"), 6, 12) == [6, 12]
    assert steps_of(Moments("epoch"), 6, 15) == [6, 12, 15]


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(each.name.split("-")[1]) for each in folder.glob("checkpoint-*"))


def test_saves_and_evaluations_per_epoch_happen_also_after_a_resume(config: MakeConfig, data_folder: Path) -> None:
    settings = {
        "test_datasets": f"[{{path: {data_folder / 'heldout.jsonl'}}}]",
        "num_epochs": "3",
        "saves_per_epoch": "2",
        "evals_per_epoch": "4",
        "save_total_limit": "20",
        "logging_steps": "0.5",
    }
    whole = config(**settings)
    steps = run(whole).steps
    out = Path(whole.output_dir)
    epoch = steps // 3
    assert epoch >= 4, "the epochs of this test are too short to tell"
    assert checkpoints(out) == steps_of(Moments("steps", per_epoch=2), epoch, steps)
    assert len(checkpoints(out)) == 6
    evaluated = [line["step"] for line in read_metrics(out / "metrics.jsonl") if "eval_loss" in line]
    assert evaluated == [0, *steps_of(Moments("steps", per_epoch=4), epoch, steps)]
    logged = {line["step"] for line in read_metrics(out / "metrics.jsonl") if "loss" in line}
    assert logged == {1, -(-steps // 2), steps, *checkpoints(out)}

    part = config(**settings, output_dir=str(out / "part"), resume_from_checkpoint=str(out / f"checkpoint-{epoch}"))
    run(part)
    assert checkpoints(out / "part") == [step for step in checkpoints(out) if step > epoch]
    again = [line["step"] for line in read_metrics(out / "part" / "metrics.jsonl") if "eval_loss" in line]
    assert again == [step for step in evaluated if step > epoch]


def test_evaluations_per_epoch_of_no_rows_are_none(config: MakeConfig) -> None:
    cfg = config(max_steps="2", evals_per_epoch="4", saves_per_epoch="0", save_strategy='"no"')
    run(cfg)
    assert not any("eval_loss" in line for line in read_metrics(Path(cfg.output_dir) / "metrics.jsonl"))
    assert checkpoints(Path(cfg.output_dir)) == []
