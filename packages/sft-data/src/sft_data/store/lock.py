"""One process at a time prepares a data set; the others wait, and find it done."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path, *, shared: bool = False, waiting: Callable[[], None] | None = None) -> Generator[None]:
    """Holds a lock that ends with the process, however it ends.

    Args:
        file: made if absent.
        shared: may be held by several jobs that each make some of the shards.
        waiting: called once if another process holds it, before this one waits for that.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as handle:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(handle, kind)
        yield


def give_way(file: Path, done: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Lets another process that is about to begin take the lock first.

    Args:
        file: the lock.
        done: whether the work is done, and nobody needs it any more.
        seconds: after which nobody is expected to come.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and not done() and not _is_held(file):
        time.sleep(0.1)


def _is_held(file: Path) -> bool:
    try:
        with file.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
