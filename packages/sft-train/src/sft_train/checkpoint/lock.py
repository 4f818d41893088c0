"""One run at a time in an `output_dir`: two would delete and replace each other's checkpoints.

The lock is flock(2) on `output_dir`/.lock, so it ends with the process, however that ends. The file stays, and says
who had it last.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sft_schema import ConfigError, Issue
from sft_train.checkpoint.together import decided_by_first

LOCK = ".lock"

_held: set[int] = set()
"""Descriptors of the locks of this process, for the processes that it forks."""


@contextmanager
def alone_in(output_dir: Path, say: Callable[[str], None]) -> Iterator[None]:
    """A context in which no other run can enter the same for this folder. Every process of a run calls it.

    Args:
        output_dir: of the run; made if absent.
        say: is told when the file system knows no locks.

    Raises:
        ConfigError: another run holds it.
    """
    mine: list[int] = []
    decided_by_first(lambda: mine.extend(_taken(output_dir, say)))
    _held.update(mine)
    try:
        yield
    finally:
        for lock in mine:
            _held.discard(lock)
            os.close(lock)


def _taken(output_dir: Path, say: Callable[[str], None]) -> list[int]:
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(output_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        message = f"{output_dir} cannot be written to: {error.strerror}"
        fix = "choose another `output_dir`, or see to it that this one can be written to"
        raise ConfigError([Issue("output_dir_not_writable", ("output_dir",), message, fix)]) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(lock, 1000).decode(errors="replace").strip() or "another process"
        os.close(lock)
        raise _in_use(output_dir, holder) from error
    except OSError as error:
        os.close(lock)
        if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL):
            raise
        say(f"{output_dir} is on a file system without locks: see to it that no other run writes there")
        return []
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()} on {socket.gethostname()}, since {since}\n".encode())
    return [lock]


def _in_use(output_dir: Path, holder: str) -> ConfigError:
    message = f"{output_dir} is in use by another run ({holder}): each would delete the other's checkpoints"
    fix = "wait until that run has ended, or stop it, or choose another `output_dir`"
    return ConfigError([Issue("output_dir_locked", ("output_dir",), message, fix)])


def _let_go() -> None:
    """A forked worker must not hold on to the lock when this process is killed."""
    while _held:
        os.close(_held.pop())  # of the child alone; closing one copy does not unlock the others


os.register_at_fork(after_in_child=_let_go)
