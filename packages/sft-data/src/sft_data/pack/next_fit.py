"""Next-fit packing: samples in their order, each into the last row, or a new one."""

from __future__ import annotations

import numpy as np

from sft_data.pack.placement import UNLIMITED, Ints, Placement, counted


def next_fit(lengths: Ints, sequence_len: int, most: int = UNLIMITED) -> Placement:
    """The row of every sample, and its place in the row; neighbours stay neighbours.

    Where a row that began with sample i would end is looked up for all samples at once; then the rows are a walk
    from one beginning to the next.

    Args:
        lengths: int64 `[n]`, all from 1 to `sequence_len`, in any order.
        sequence_len: tokens that a row holds.
        most: samples that a row may hold.
    """
    count = len(lengths)
    ends = np.cumsum(lengths)
    following = np.searchsorted(ends, ends - lengths + sequence_len, side="right")
    jumps = np.minimum(following, np.arange(count) + min(most, count)).tolist()
    starts: list[int] = []
    at = 0
    while at < count:
        starts.append(at)
        at = jumps[at]
    held = np.diff(np.array([*starts, count], dtype=np.int64))
    rows = np.arange(len(held), dtype=np.int64)
    return Placement(np.repeat(rows, held), counted(np.zeros_like(held), held), len(held))
