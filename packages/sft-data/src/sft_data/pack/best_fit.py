"""Best-fit-decreasing bin packing (Johnson 1973), exact, in steps over distinct lengths instead of samples.

Each sample, long before short, goes into the row with the least room that still takes it. Samples of one length
follow one another, and a row that takes one of them has the least room afterwards too, so it takes as many as it
can. Rows with equal room are filled alike and stand together as runs of row numbers:

    sequence_len 8, lengths 5 5 3 3 2      after 5:  room 3: rows 0-1
                                           after 3:  room 0: rows 0-1
                                           after 2:  room 0: rows 0-1, room 6: row 2

The work grows with the number of distinct lengths, whatever the number of samples, until the end, where the runs
are written out for the samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Run = tuple[int, int, int]
"""First row, number of rows, and samples in each of them so far."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where every sample stands.

    Attributes:
        row: int64 `[n]`: its row.
        slot: int64 `[n]`: how many samples stand before it in that row.
        rows: number of rows.
    """

    row: NDArray[np.int64]
    slot: NDArray[np.int64]
    rows: int


def best_fit_decreasing(lengths: NDArray[np.integer], sequence_len: int) -> Placement:
    """The row of every sample, and its place in the row.

    Args:
        lengths: int `[n]`, sorted from long to short, all from 1 to `sequence_len`.
        sequence_len: tokens that a row holds.
    """
    if not len(lengths):
        return Placement(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), 0)
    rows = _OpenRows(sequence_len, shortest=int(lengths[-1]))
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(lengths)]):
        rows.place(int(lengths[start]), end - start)
    return rows.written_out()


class _OpenRows:
    """Rows by the room they have left; those without room for the shortest sample are forgotten."""

    def __init__(self, sequence_len: int, shortest: int) -> None:
        self.total = 0
        self._sequence_len, self._shortest = sequence_len, shortest
        self._by_room: dict[int, list[Run]] = {}
        self._rooms = 0  # bit r is set while there are rows with room r, so that the next larger room is one shift away
        self._placed: list[tuple[int, int, int, int]] = []  # a run, and the samples that each of its rows takes

    def place(self, length: int, count: int) -> None:
        """Places `count` samples of one length."""
        while count:
            wide_enough = self._rooms >> length
            if wide_enough:
                room = length + (wide_enough & -wide_enough).bit_length() - 1
            else:
                room = self._sequence_len
                opened = -(-count // (room // length))
                self._add(room, (self.total, opened, 0))
                self.total += opened
            self._rooms ^= 1 << room
            for run in self._by_room.pop(room):
                count = self._fill(run, room, length, count)

    def _fill(self, run: Run, room: int, length: int, count: int) -> int:
        """Fills the rows of a run, as many as the samples last; gives the number of samples left."""
        (first, rows, samples), each = run, room // length
        full = min(rows, count // each)
        count -= full * each
        self._take((first, full, samples), each, room - each * length)
        if full < rows and count:
            self._take((first + full, 1, samples), count, room - count * length)
            full, count = full + 1, 0
        if full < rows:
            self._add(room, (first + full, rows - full, samples))
        return count

    def _take(self, run: Run, each: int, room: int) -> None:
        first, rows, samples = run
        if rows:
            self._placed.append((*run, each))
            self._add(room, (first, rows, samples + each))

    def _add(self, room: int, run: Run) -> None:
        if room >= self._shortest:
            self._by_room.setdefault(room, []).append(run)
            self._rooms |= 1 << room

    def written_out(self) -> Placement:
        """The place of each sample, in the order in which they were placed."""
        first, rows, samples, each = np.array(self._placed, dtype=np.int64).T
        row = np.repeat(_counted(first, rows), np.repeat(each, rows))
        slot = _counted(np.repeat(samples, rows), np.repeat(each, rows))
        return Placement(row, slot, self.total)


def _counted(start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """`start[i], start[i] + 1, ...`, `length[i]` numbers of each, joined."""
    ends: NDArray[np.int64] = np.cumsum(length, dtype=np.int64)
    return np.repeat(start - (ends - length), length) + np.arange(int(ends[-1]), dtype=np.int64)
