"""Python's garbage collector, kept from running in the middle of a block of rows."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Generator[None]:
    """Around work that makes many small objects, few of them in cycles.

    The collector would go through all rows that are kept, again and again, and take a third of the time. What stands
    in cycles waits for the end of the block.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
