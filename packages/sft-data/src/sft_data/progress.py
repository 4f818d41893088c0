"""How far a preparation is, and how fast it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a data set is.

    Attributes:
        dataset: its `path` in the config.
        rows: rows done.
        total: rows in all, or None where they are not known before they are read.
        tokens: tokens of the rows done.
        waiting: another process prepares the same data, and this one waits for it.
    """

    dataset: str
    rows: int
    total: int | None
    tokens: int
    waiting: bool = False


WAITING = "waiting for another process that prepares the same data"


class Pace:
    """Progress as a line: `a.jsonl: 8,192 of 50,000 rows, 4,100 rows/s, 2.1M tokens/s, 10 s left, 310 MB`.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._dataset, self._since = "", clock()

    def line(self, progress: Progress) -> str:
        """One line; the rates are those since the data set began."""
        if progress.waiting:
            return WAITING
        now = self._clock()
        if progress.dataset != self._dataset:
            self._since = now if self._dataset else self._since
            self._dataset = progress.dataset
        seconds = max(now - self._since, 1e-9)
        of = "" if progress.total is None else f" of {progress.total:,}"
        parts = [f"{progress.dataset}: {progress.rows:,}{of} rows"]
        if seconds > 0.1:
            parts += [f"{progress.rows / seconds:,.0f} rows/s", f"{_short(progress.tokens / seconds)} tokens/s"]
            if progress.total is not None and progress.rows:
                parts.append(f"{_time((progress.total - progress.rows) * seconds / progress.rows)} left")
        memory = resident_bytes()
        return ", ".join(parts if memory is None else [*parts, f"{memory / 1e6:,.0f} MB"])


def _short(number: float) -> str:
    return f"{number / 1e6:.1f}M" if number >= 1e6 else f"{number / 1e3:.0f}k" if number >= 1e4 else f"{number:.0f}"


def _time(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def resident_bytes() -> int | None:
    """Memory of this process and its workers that is in use now; None where the system does not say."""
    try:
        children = [text for file in Path("/proc/self/task").glob("*/children") for text in file.read_text().split()]
        return sum(_resident(process) for process in ("self", *children)) or None
    except OSError:
        return None


def _resident(process: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0  # it has just ended
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
