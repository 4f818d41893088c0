from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from sft_cli.progress import PlainMeter, RunProgress, preparing
from sft_data import Progress
from sft_schema.record import Manifest, PackPlan, RunSummary
from sft_train.observer import Observer


def console(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=100, highlight=False, color_system=None), file


def follow(progress: RunProgress, manifest: Manifest, summary: RunSummary) -> None:
    observer: Observer = progress
    plan = PackPlan(np.arange(1000), np.arange(0, 1001, 10), 50_000, 512)
    observer.stage("loading the model")
    observer.prepared(manifest, plan)
    observer.logged(0, {"eval_loss": 3.25})
    observer.started(100, 40)
    for step in range(41, 101):
        observer.logged(step, {"loss": 2.0, "tokens_per_second": 1234.5, "trained_tokens_per_second": 56.7})
    observer.logged(100, {"eval_loss": 0.5})
    observer.logged(100, {"eval_exact_match": 0.875})
    observer.logged(100, {"train_runtime": 5.0})
    observer.stage("saving")
    observer.finished(summary)


def test_a_log_file_gets_a_line_for_about_every_tenth(manifest: Manifest, summary: RunSummary) -> None:
    target, file = console()
    with RunProgress(target) as progress:
        follow(progress, manifest, summary)
    text = file.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    steps = [line.split()[1] for line in text.splitlines() if line.startswith("step") and "/" in line.split()[1]]
    assert steps == ["50/100", "60/100", "70/100", "80/100", "90/100", "100/100"]
    assert "loss 2.0000  1,234 tokens/s  57 trained tokens/s" in text
    assert "40 of 100 steps were done before" in text
    assert "step 0  held-out loss 3.2500" in text
    assert "step 100  held-out loss 0.5000" in text
    assert "step 100  exact match 87.5%" in text
    assert "100 rows of up to 512 tokens, 97.7% full, 10.0 samples a row" in text
    assert text.index("loading the model") < text.index("rows read") < text.index("saving")


def test_the_outcome_is_kept(manifest: Manifest, summary: RunSummary) -> None:
    with RunProgress(console()[0]) as progress:
        assert progress.summary is None
        follow(progress, manifest, summary)
    assert progress.summary == summary
    assert progress.manifest == manifest


def test_a_terminal_gets_a_bar(manifest: Manifest, summary: RunSummary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    target, file = console(terminal=True)
    with RunProgress(target) as progress:
        follow(progress, manifest, summary)
    assert "100/100 ━" in file.getvalue()
    assert "loading the model" in file.getvalue()


def test_a_terminal_of_a_ci_service_gets_lines(
    manifest: Manifest, summary: RunSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    target, file = console(terminal=True)
    with RunProgress(target) as progress:
        follow(progress, manifest, summary)
    assert "━" not in file.getvalue()
    assert "step 100/100" in file.getvalue()


def test_an_error_takes_the_bar_away(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    target, file = console(terminal=True)
    with pytest.raises(ValueError, match="broken"), RunProgress(target) as progress:  # noqa: PT012
        progress.started(10, 0)
        raise ValueError("broken")
    length = len(file.getvalue())
    target.print("after")
    assert file.getvalue()[length:] == "after\n"


def test_a_slow_run_says_something_every_ten_seconds() -> None:
    target, file = console()
    now = iter(range(0, 1000, 4))
    meter = PlainMeter(target, clock=lambda: float(next(now)))
    meter.start(1000, 0)
    for step in range(1, 8):
        meter.update(step, {"loss": 1.0})
    lines = file.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["3/1000", "6/1000"]
    assert lines[0].endswith("1 h 06 min left")


def test_preparing_names_every_data_set_once_in_a_log_file() -> None:
    target, file = console()
    with preparing(target) as notify:
        for done in (512, 1024):
            notify(Progress("a.jsonl", done, None, 0))
        notify(Progress("b\x1b.jsonl", 7, 7, 70))
    assert file.getvalue() == "preparing a.jsonl\npreparing b␛.jsonl\n"


def test_preparing_counts_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    target, file = console(terminal=True)
    with preparing(target) as notify:
        notify(Progress("a.jsonl", 512, None, 0))
    assert "preparing" not in file.getvalue()
