"""Packing by the room that rows have left, exact, in steps over distinct lengths instead of samples.

Long samples are placed before short ones, each into a row that still takes it:

    best fit                 the row with the least room (Johnson 1973)
    shortest pack first      the row with the most room (Krell et al. 2021, arXiv 2107.02027)

Samples of one length follow one another. In best fit a row that takes one of them has the least room afterwards
too, so it takes as many as it can; in shortest pack first it takes one, and the next row is looked for. Rows with
equal room are filled alike and stand together as runs of row numbers:

    best fit, sequence_len 8, lengths 5 5 3 3 2      after 5:  room 3: rows 0-1
                                                     after 3:  room 0: rows 0-1
                                                     after 2:  room 0: rows 0-1, room 6: row 2

The work grows with the number of distinct lengths, whatever the number of samples, until the end, where the runs
are written out for the samples.
"""

from __future__ import annotations

import numpy as np

from sft_data.pack.placement import UNLIMITED, Ints, Placement, by_length, written_out

Run = tuple[int, int, int]
"""First row, number of rows, and samples in each of them so far."""


def best_fit_decreasing(lengths: Ints, sequence_len: int, most: int = UNLIMITED) -> Placement:
    """The row of every sample, and its place in the row.

    Args:
        lengths: int64 `[n]`, sorted from long to short, all from 1 to `sequence_len`.
        sequence_len: tokens that a row holds.
        most: samples that a row may hold.
    """
    rows = _OpenRows(sequence_len, int(lengths[-1]) if len(lengths) else 1, most)
    by_length(lengths, rows.fill_least)
    return rows.written_out()


def shortest_pack_first(lengths: Ints, sequence_len: int, most: int = UNLIMITED) -> Placement:
    """The same by shortest-pack-first histogram packing: the fullest rows stay as they are, the emptiest get more.

    Samples that fit no row open one at a time, and fill it with others of their length. In the listing of the paper
    each of them opens a row of its own, which leaves rows nearly empty where many short samples have one length.

    Args:
        lengths: int64 `[n]`, sorted from long to short, all from 1 to `sequence_len`.
        sequence_len: tokens that a row holds.
        most: samples that a row may hold.
    """
    rows = _OpenRows(sequence_len, int(lengths[-1]) if len(lengths) else 1, most)
    by_length(lengths, rows.spread_most)
    return rows.written_out()


class _OpenRows:
    """Rows by the room they have left; those that can take no further sample are forgotten."""

    def __init__(self, sequence_len: int, shortest: int, most: int) -> None:
        self.total = 0
        self._sequence_len, self._shortest, self._most = sequence_len, shortest, most
        self._by_room: dict[int, list[Run]] = {}
        self._rooms = 0  # bit r is set while there are rows with room r, so that the next larger room is one shift away
        self._placed: list[tuple[int, int, int, int]] = []  # a run, and the samples that each of its rows takes

    def fill_least(self, length: int, count: int) -> None:
        """Places `count` samples of one length, first into the rows with the least room."""
        while count:
            wide_enough = self._rooms >> length
            if not wide_enough:
                self._open(length, count)
                wide_enough = self._rooms >> length
            room = length + (wide_enough & -wide_enough).bit_length() - 1
            for run in self._pop(room):
                count = self._fill(run, room, length, count)

    def spread_most(self, length: int, count: int) -> None:
        """Places `count` samples of one length, one by one into the rows with the most room."""
        while count:
            room = self._rooms.bit_length() - 1
            opened = room < length
            if opened:
                self._open(length, count)
                room = self._sequence_len
            for run in self._pop(room):
                count = self._fill(run, room, length, count, UNLIMITED if opened else 1)

    def _open(self, length: int, count: int) -> None:
        opened = -(-count // min(self._sequence_len // length, self._most))
        self._add(self._sequence_len, (self.total, opened, 0))
        self.total += opened

    def _pop(self, room: int) -> list[Run]:
        self._rooms ^= 1 << room
        return self._by_room.pop(room)

    def _fill(self, run: Run, room: int, length: int, count: int, at_once: int = UNLIMITED) -> int:
        """Fills the rows of a run, as many as the samples last; gives the number of samples left."""
        first, rows, samples = run
        each = min(room // length, self._most - samples, at_once)
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
        if room >= self._shortest and run[2] < self._most:
            self._by_room.setdefault(room, []).append(run)
            self._rooms |= 1 << room

    def written_out(self) -> Placement:
        """The place of each sample, in the order in which they were placed."""
        return written_out(np.array(self._placed, dtype=np.int64), self.total)
