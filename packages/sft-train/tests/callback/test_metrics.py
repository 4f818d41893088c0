from __future__ import annotations

from pathlib import Path

from transformers import TrainerControl, TrainerState, TrainingArguments

from sft_train.callback import MetricsFile, read_metrics


def log(metrics: MetricsFile, step: int, **logs: float) -> None:
    metrics.on_log(TrainingArguments(), TrainerState(global_step=step), TrainerControl(), logs)


def test_new_run_empties_the_file(tmp_path: Path) -> None:
    path = tmp_path / "out" / "metrics.jsonl"
    log(MetricsFile(path, None), 1, loss=2.0)
    log(MetricsFile(path, None), 1, loss=3.0)
    assert read_metrics(path) == [{"step": 1, "loss": 3.0}]


def test_resumed_run_drops_the_steps_that_it_does_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, None)
    for step in range(5):
        log(first, step, loss=float(step))
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # the process was killed while it wrote
    log(MetricsFile(path, 2), 3, loss=30.0)
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [(0, 0), (1, 1), (2, 2), (3, 30)]
