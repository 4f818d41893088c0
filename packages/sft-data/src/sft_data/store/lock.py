"""One process at a time prepares a data set; the others wait, and find it done."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path, *, shared: bool = False) -> Generator[None]:
    """Holds a lock that ends with the process, however it ends.

    Args:
        file: made if absent.
        shared: may be held by several jobs that each make some of the shards.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
