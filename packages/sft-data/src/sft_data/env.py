"""Environment variables that this package reads or sets."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path


def one_thread_each() -> None:
    """In a worker process: the processes share out the cores, so each encodes with one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def quiet_ray() -> str | None:
    """Keeps Ray from reporting its use, and from starting workers by `uv run` in a copy of the working folder.

    A cluster of this process's own listens on all addresses of the machine, so only who has its token may give it
    work: a token of its own, where newer versions of Ray keep one in the home folder, and older ones ask for none. Ray
    reads all this when it is imported: later it is left as it is.

    Returns:
        The address of the cluster, if there is one.
    """
    address = os.environ.get("RAY_ADDRESS")
    if "ray" in sys.modules:
        return address
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    if not address:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    return address


def cache_folder() -> Path:
    """Where this package keeps what it found out, by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sft-data"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
