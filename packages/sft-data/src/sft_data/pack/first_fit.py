"""First-fit-decreasing bin packing (Johnson 1973), exact, without a loop over samples.

Samples of equal length follow one another, and first fit gives them to the rows from the left: a row with r free
tokens takes r // length of them. So each distinct length is one vectorised step over the open rows:

    sequence_len 8, lengths 5 5 3 3 2      rows after 5: [5] [5]
                                           after 3:      [5 3] [5 3]
                                           after 2:      [5 3] [5 3] [2]
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def first_fit_decreasing(lengths: NDArray[np.integer], sequence_len: int) -> tuple[NDArray[np.int64], int]:
    """The row of every sample.

    Args:
        lengths: int `[n]`, sorted from long to short, all from 1 to `sequence_len`.
        sequence_len: tokens that a row holds.

    Returns:
        int64 `[n]` with the row of each sample, and the number of rows.
    """
    assigned = np.empty(len(lengths), dtype=np.int64)
    rows = np.empty(0, dtype=np.int64)  # indices of the rows that can still take the shortest sample
    free = np.empty(0, dtype=np.int64)
    total = 0
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(lengths)]):
        length, count = int(lengths[start]), end - start
        taken = np.diff(np.minimum(np.cumsum(free // length), count), prepend=0)
        opened = _opened(count - int(taken.sum()), sequence_len // length)
        rows = np.concatenate([rows, np.arange(total, total + len(opened))])
        free = np.concatenate([free - taken * length, sequence_len - opened * length])
        assigned[start:end] = np.repeat(rows, np.concatenate([taken, opened]))
        total += len(opened)
        is_open = free >= lengths[-1]
        rows, free = rows[is_open], free[is_open]
    return assigned, total


def _opened(rest: int, each: int) -> NDArray[np.int64]:
    """How many samples each new row takes when `rest` are left and a row holds `each` of them."""
    opened = np.full(-(-rest // each), each, dtype=np.int64)
    if rest % each:
        opened[-1] = rest % each
    return opened
