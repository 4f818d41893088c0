"""Environment variables that this package reads or sets."""

from __future__ import annotations

import os


def one_thread_each() -> None:
    """In a worker process: the processes share out the cores, so each encodes with one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
