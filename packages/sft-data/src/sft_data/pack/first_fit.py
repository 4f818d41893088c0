"""First-fit-decreasing bin packing (Johnson 1973), exact, in steps over distinct lengths instead of samples.

Each sample, long before short, goes into the first row that still takes it. Samples of one length fill that row
before they go on to the next, and rows that were opened for one length and filled alike stand together as a run:

    sequence_len 8, lengths 5 5 3 3 2      after 5:  rows 0-1 with room 3
                                           after 3:  rows 0-1 with room 0
                                           after 2:  rows 0-1 with room 0, row 2 with room 6

Each length ends inside one run and splits it in three at most, so there are few runs however many rows there are,
and looking all of them over for each length is one operation on a short array.
"""

from __future__ import annotations

import numpy as np

from sft_data.pack.placement import UNLIMITED, Ints, Placement, by_length, written_out


def first_fit_decreasing(lengths: Ints, sequence_len: int, most: int = UNLIMITED) -> Placement:
    """The row of every sample, and its place in the row.

    Args:
        lengths: int64 `[n]`, sorted from long to short, all from 1 to `sequence_len`.
        sequence_len: tokens that a row holds.
        most: samples that a row may hold.
    """
    rows = _RowsInOrder(sequence_len, int(lengths[-1]) if len(lengths) else 1, most)
    by_length(lengths, rows.place)
    placed = np.concatenate([np.empty((0, 4), dtype=np.int64), *rows.placed])
    return written_out(placed, rows.total)


class _RowsInOrder:
    """Runs of rows in the order in which they were opened, without those that can take no further sample."""

    def __init__(self, sequence_len: int, shortest: int, most: int) -> None:
        self.total = 0
        self.placed: list[Ints] = []
        self._sequence_len, self._shortest, self._most = sequence_len, shortest, most
        self._runs = np.empty((0, 4), dtype=np.int64)  # first row, number of rows, samples in each, room in each

    def place(self, length: int, count: int) -> None:
        """Places `count` samples of one length."""
        able, each, ends = self._able(length)
        missing = count - (int(ends[-1]) if len(ends) else 0)
        if missing > 0:
            self._open(length, missing)
            able, each, ends = self._able(length)
        full = int(np.searchsorted(ends, count, side="right"))  # runs that are filled to the last row
        left = count - (int(ends[full - 1]) if full else 0)
        filled, each_filled = able[:full], each[:full]
        self.placed.append(np.column_stack([self._runs[filled, :3], each_filled]))
        self._runs[filled, 2] += each_filled
        self._runs[filled, 3] -= each_filled * length
        if left:
            self._split(int(able[full]), length, int(each[full]), left)
        self._runs = self._runs[(self._runs[:, 3] >= self._shortest) & (self._runs[:, 2] < self._most)]

    def _able(self, length: int) -> tuple[Ints, Ints, Ints]:
        """Runs that take samples of a length, how many each of their rows takes, and how many up to each run."""
        able = np.flatnonzero(self._runs[:, 3] >= length)
        _, rows, samples, room = self._runs[able].T
        each = np.minimum(room // length, self._most - samples)
        return able, each, np.cumsum(each * rows)

    def _open(self, length: int, count: int) -> None:
        opened = -(-count // min(self._sequence_len // length, self._most))
        self._runs = np.vstack([self._runs, [(self.total, opened, 0, self._sequence_len)]])
        self.total += opened

    def _split(self, run: int, length: int, each: int, count: int) -> None:
        """Fills the first rows of a run with the last samples of a length: full rows, one with the rest, no others."""
        first, rows, samples, room = self._runs[run].tolist()
        full, rest = divmod(count, each)
        parts: list[tuple[int, int, int]] = [(first, full, each), (first + full, int(rest > 0), rest)]
        taking = [part for part in parts if part[1]]
        done = sum(part[1] for part in taking)
        self.placed.append(np.array([(at, number, samples, taken) for at, number, taken in taking], dtype=np.int64))
        after = [(at, number, samples + taken, room - taken * length) for at, number, taken in taking]
        after += [(first + done, rows - done, samples, room)] if done < rows else []
        self._runs = np.concatenate([self._runs[:run], np.array(after, dtype=np.int64), self._runs[run + 1 :]])
