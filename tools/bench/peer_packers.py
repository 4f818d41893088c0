"""The packers of axolotl and TRL, written anew from what they do, for comparison.

They give the number of rows alone. Their seconds are those of this Python code: axolotl compiles its loop, TRL
moves the tokens too.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.int64]

AXOLOTL_GROUP, AXOLOTL_SAMPLES_A_ROW = 100_000, 200
TRL_BATCH = 1000


def axolotl_rows(lengths: Lengths, sequence_len: int) -> int:
    """`sample_packing`: first fit in random order, within groups of 100,000, up to 200 samples a row."""
    order = np.random.default_rng(0).permutation(lengths)
    groups = range(0, len(order), AXOLOTL_GROUP)
    return sum(_first_fit(order[at : at + AXOLOTL_GROUP].tolist(), sequence_len) for at in groups)


def _first_fit(lengths: list[int], sequence_len: int) -> int:
    """Rows of first fit. A tree over all rows that there could be knows the most room in each of its halves."""
    leaves = 1 << (len(lengths) - 1).bit_length()
    room = [sequence_len] * (2 * leaves)
    held = [0] * leaves
    rows = 0
    for length in lengths:
        node = 1
        while node < leaves:
            node *= 2
            node += room[node] < length
        row = node - leaves
        rows = max(rows, row + 1)
        held[row] += 1
        room[node] = room[node] - length if held[row] < AXOLOTL_SAMPLES_A_ROW else 0
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return rows


def trl_rows(lengths: Lengths, sequence_len: int) -> int:
    """`packing_strategy: bfd`: best-fit decreasing within each batch of 1000 samples."""
    batches = range(0, len(lengths), TRL_BATCH)
    return sum(_best_fit(sorted(lengths[at : at + TRL_BATCH].tolist(), reverse=True), sequence_len) for at in batches)


def _best_fit(lengths: list[int], sequence_len: int) -> int:
    rooms: list[int] = []
    for length in lengths:
        at = bisect_left(rooms, length)
        insort(rooms, (rooms.pop(at) if at < len(rooms) else sequence_len) - length)
    return len(rooms)


PEERS: dict[str, Callable[[Lengths, int], int]] = {"axolotl": axolotl_rows, "TRL": trl_rows}
