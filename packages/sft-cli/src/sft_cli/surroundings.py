"""Disk, memory and the hub, as `sft doctor` finds them."""

from __future__ import annotations

import os
import shutil
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

GB = 1e9
_SERVER_ERROR = 500
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of this machine in GB, and the cores that this process may use.

    Attributes:
        gigabytes: all of it, or what a container's limit leaves.
        free: available now.
        cores: CPU cores.
    """

    gigabytes: float
    free: float
    cores: int


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub of models and data sets.

    Attributes:
        address: where it is.
        answer: what came of asking it, as a few words.
        reached: whether it answered.
        seconds: how long that took.
        token: whether a login is stored here; its value is not read out.
    """

    address: str
    answer: str
    reached: bool
    seconds: float
    token: bool


def room() -> Room:
    """See `Room`."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if Path("/proc/meminfo").exists() else []
    kilobytes = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
    total, free = (kilobytes.get(name, 0) * 1024 / GB for name in ("MemTotal", "MemAvailable"))
    limits = [int(text) / GB for text in (_text(file) for file in _CGROUP) if text.isdigit()]
    limit = min([total, *limits])
    return Room(limit, min(free, limit), len(os.sched_getaffinity(0)))


def free_disk(folder: Path) -> float:
    """Free GB where a folder is, or would be."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path("/"))
    return shutil.disk_usage(there).free / GB


def ask_hub(address: str, *, offline: bool, token: bool, timeout: float) -> Hub:
    """Asks the hub for its front page's head; a proxy of the environment is used, as the hub's library does.

    Args:
        address: of the hub or a mirror.
        offline: whether the environment forbids to ask.
        token: whether a login is stored.
        timeout: seconds after which it counts as out of reach.
    """
    if offline:
        return Hub(address, "not asked: HF_HUB_OFFLINE is set, models and data come from the cache", False, 0.0, token)
    began = time.monotonic()
    answers: list[tuple[str, bool]] = []
    asking = threading.Thread(target=lambda: answers.append(_head(address, timeout)), daemon=True)
    asking.start()
    asking.join(timeout)  # a name server that is silent is waited for by no timeout of a socket
    answer, reached = answers[0] if answers else (f"out of reach: no answer in {timeout:g} s", False)
    return Hub(address, answer, reached, time.monotonic() - began, token)


def _head(address: str, timeout: float) -> tuple[str, bool]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=timeout) as found:
            return f"answers ({found.status})", True
    except urllib.error.HTTPError as error:
        return f"answers ({error.code})", error.code < _SERVER_ERROR
    except (OSError, ValueError) as error:
        return f"out of reach: {getattr(error, 'reason', error)}", False


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
