"""A run as it goes, on standard error: a moving bar in a terminal, calm lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

import sft_data as data
from sft_cli.account import account_text
from sft_cli.console import is_live
from sft_cli.outcome import duration
from sft_cli.visible import visible

if TYPE_CHECKING:
    from sft_schema.record import Manifest, PackPlan, RunSummary

LINES_PER_RUN, SECONDS_PER_LINE = 10, 10.0

Metrics = Mapping[str, float]


class Meter(Protocol):
    """Shows how far the training steps are."""

    def start(self, steps: int, done: int) -> None:
        """`steps` in all, `done` of them before this process."""

    def update(self, step: int, metrics: Metrics) -> None:
        """What was logged at `step` of training."""

    def stop(self) -> None:
        """No more steps come; called at any time, more than once too."""


class LiveMeter:
    """A progress bar."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=4,
        )
        self._task: TaskID | None = None
        self._status = ""

    def start(self, steps: int, done: int) -> None:
        """Shows the bar."""
        self._task = self._progress.add_task("", total=steps, completed=done, status="")
        self._progress.start()

    def update(self, step: int, metrics: Metrics) -> None:
        """Moves it."""
        if self._task is not None:
            self._progress.update(self._task, completed=step, status=status_text(metrics))

    def stop(self) -> None:
        """Leaves it as it is."""
        self._progress.stop()


class PlainMeter:
    """A line about every tenth of the run, and after ten seconds without one."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._steps = self._done = self._shown = 0
        self._began = self._said = 0.0

    def start(self, steps: int, done: int) -> None:
        """Takes the time."""
        self._steps, self._done, self._shown = steps, done, done
        self._began = self._said = self._clock()

    def update(self, step: int, metrics: Metrics) -> None:
        """Prints a line when one is due."""
        now = self._clock()
        far = step - self._shown >= self._steps / LINES_PER_RUN
        if not (far or step == self._steps or now - self._said >= SECONDS_PER_LINE):
            return
        self._shown, self._said = step, now
        left = (now - self._began) / max(1, step - self._done) * (self._steps - step)
        rest = f"  {duration(left)} left" if step < self._steps else ""
        self._console.print(f"step {step}/{self._steps}  {status_text(metrics)}{rest}", soft_wrap=True)

    def stop(self) -> None:
        """Nothing moves."""


def status_text(metrics: Metrics) -> str:
    """Loss and speed in a few words, as far as they were measured."""
    words: list[str] = []
    if "loss" in metrics:
        words.append(f"loss {metrics['loss']:.4f}")
    if "tokens_per_second" in metrics:
        words.append(f"{metrics['tokens_per_second']:,.0f} tokens/s")
    if "trained_tokens_per_second" in metrics:
        words.append(f"{metrics['trained_tokens_per_second']:,.0f} trained tokens/s")
    return "  ".join(words)


class RunProgress:
    """The observer of `sft_train.run`. Use it as a context manager, so that an error does not leave a bar.

    Attributes:
        manifest: account of the data, once prepared.
        summary: the outcome, once finished; stays None in all processes but the first.
    """

    def __init__(self, console: Console) -> None:
        self.manifest: Manifest | None = None
        self.summary: RunSummary | None = None
        self._console = console
        self._meter: Meter = LiveMeter(console) if is_live(console) else PlainMeter(console)
        self._steps = 0

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._meter.stop()

    def stage(self, text: str) -> None:
        """Prints the stage."""
        self._say(text)

    def prepared(self, manifest: Manifest, plan: PackPlan) -> None:
        """Prints the account of the data."""
        self.manifest = manifest
        self._say(account_text(manifest, plan))

    def started(self, steps: int, done: int) -> None:
        """Starts the bar."""
        self._steps = steps
        if done:
            self._say(f"{done} of {steps} steps were done before")
        self._meter.start(steps, done)

    def logged(self, step: int, metrics: dict[str, float]) -> None:
        """Moves the bar; scores on held-out rows get a line of their own."""
        if "loss" in metrics:
            self._meter.update(step, metrics)
        if "eval_loss" in metrics:
            self._say(f"step {step}  held-out loss {metrics['eval_loss']:.4f}")
        if "eval_exact_match" in metrics:
            self._say(f"step {step}  exact match {100 * metrics['eval_exact_match']:.1f}%")
        for key in ("chrf", "rouge_l"):
            if f"eval_{key}" in metrics:
                self._say(f"step {step}  {key} {100 * metrics[f'eval_{key}']:.1f}%")
        if step >= self._steps > 0:
            self._meter.stop()

    def finished(self, summary: RunSummary) -> None:
        """Keeps the summary."""
        self.summary = summary

    def _say(self, text: str) -> None:
        self._console.print(visible(text), soft_wrap=True)


@contextmanager
def preparing(console: Console) -> Generator[Callable[[data.Progress], None]]:
    """Gives the `notify` of `sft_data.prepare`: a line for every data set, with a count that moves in a terminal."""
    seen: set[str] = set()
    pace = data.Pace()
    with console.status("") if is_live(console) else _no_status() as status:

        def notify(progress: data.Progress) -> None:
            if status is not None:
                status.update(visible(pace.line(progress)))
            elif progress.dataset not in seen:
                waiting = pace.line(progress) if progress.waiting else ""
                console.print(waiting or f"preparing {visible(progress.dataset)}", soft_wrap=True)
            seen.add(progress.dataset)

        yield notify


@contextmanager
def _no_status() -> Generator[None]:
    yield None
