"""Where samples stand, and runs of equal rows, which is how the packers count instead of looping over samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

UNLIMITED = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Placement:
    """Where every sample stands.

    Attributes:
        row: int64 `[n]`: its row.
        slot: int64 `[n]`: how many samples stand before it in that row.
        rows: number of rows.
    """

    row: Ints
    slot: Ints
    rows: int


Packer = Callable[[Ints, int, int], Placement]
"""Lengths int64 `[n]`, tokens that a row holds and samples that it may hold, to a placement."""


def by_length(lengths: Ints, place: Callable[[int, int], None]) -> None:
    """Calls `place(length, count)` for each distinct length.

    Args:
        lengths: int64 `[n]`, sorted.
        place: is told of `count` samples of one length.
    """
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(lengths)]):
        place(int(lengths[start]), end - start)


def written_out(runs: NDArray[np.integer], rows: int) -> Placement:
    """The place of each sample, in the order in which they were placed.

    Args:
        runs: int64 `[m, 4]`: first row, number of rows, samples that each of them held before, samples that each took.
        rows: number of rows in all.
    """
    first, count, samples, each = runs.astype(np.int64).reshape(-1, 4).T
    row = np.repeat(counted(first, count), np.repeat(each, count))
    slot = counted(np.repeat(samples, count), np.repeat(each, count))
    return Placement(row, slot, rows)


def counted(start: Ints, length: Ints) -> Ints:
    """`start[i], start[i] + 1, ...`, `length[i]` numbers of each, joined: int64 `[sum(length)]`."""
    ends: Ints = np.cumsum(length, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(start - (ends - length), length) + np.arange(total, dtype=np.int64)
