"""Packing of samples that come one after another, when all lengths are never known at once.

A window of samples is held. When it is full they are packed by best-fit decreasing, the fuller half of the rows is
given out, and the samples of the emptier half stay in the window with those that come. So no more than `window`
samples are held, and gaps are filled by what comes later.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

import numpy as np

from sft_data.pack.by_room import best_fit_decreasing
from sft_data.pack.placement import UNLIMITED, Ints
from sft_schema import ContractError


class PackStream:
    """Rows of a stream, and what the bounded window costs.

    Attributes:
        capacity: tokens that a row holds.
        window: samples that are held at most.
        rows: rows given out so far.
        samples: samples in them.
        tokens: tokens in them.
    """

    def __init__(self, lengths: Iterable[int], capacity: int, window: int, most: int) -> None:
        self.capacity, self.window = capacity, window
        self.rows = self.samples = self.tokens = 0
        self._lengths, self._most = lengths, most

    @property
    def efficiency(self) -> float:
        """Part of the capacity of the rows so far that holds tokens, 0 to 1."""
        return self.tokens / (self.rows * self.capacity) if self.rows else 1.0

    @property
    def lost(self) -> int:
        """Rows so far beyond the fewest that could hold their tokens, by any packing of the whole stream."""
        return self.rows + -self.tokens // self.capacity

    def __iter__(self) -> Iterator[Ints]:
        """Rows: int64 `[k]`, numbers of samples counted from 0 as they come.

        Raises:
            ContractError: a sample is empty or longer than a row.
        """
        numbers: list[int] = []
        sizes: list[int] = []
        for number, size in enumerate(self._lengths):
            if not 0 < size <= self.capacity:
                raise ContractError(f"sample {number} of {size} tokens does not fit rows of {self.capacity}")
            numbers.append(number)
            sizes.append(size)
            if len(numbers) >= self.window:
                kept = yield from self._given(np.array(numbers), np.array(sizes), last=False)
                numbers, sizes = [numbers[each] for each in kept], [sizes[each] for each in kept]
        yield from self._given(np.array(numbers, dtype=np.int64), np.array(sizes, dtype=np.int64), last=True)

    def _given(self, numbers: Ints, sizes: Ints, *, last: bool) -> Generator[Ints, None, list[int]]:
        """Gives out the fuller half of the rows, or all of them; returns the places in the window that are kept."""
        order = np.argsort(-sizes, kind="stable")
        placed = best_fit_decreasing(sizes[order], self.capacity, self._most)
        used = np.bincount(placed.row, weights=sizes[order], minlength=placed.rows)
        goes = np.ones(placed.rows, dtype=bool)
        if not last:
            goes[np.argsort(-used, kind="stable")[-(-placed.rows // 2) :]] = False
        by_row = order[np.argsort(placed.row, kind="stable")]
        ends = np.cumsum(np.bincount(placed.row, minlength=placed.rows)).tolist()
        for start, end, row in zip([0, *ends], ends, range(placed.rows), strict=False):
            if goes[row]:
                self.rows, self.samples = self.rows + 1, self.samples + end - start
                self.tokens += int(used[row])
                yield numbers[by_row[start:end]]
        return np.sort(order[~goes[placed.row]]).tolist()


def pack_stream(
    lengths: Iterable[int], capacity: int, window: int = 10_000, *, max_samples_per_pack: int | None = None
) -> PackStream:
    """Packs samples as they come; iterate over it for the rows, and read `efficiency` and `lost` at any time.

    Args:
        lengths: tokens of each sample, from 1 to `capacity`.
        capacity: tokens that a row holds.
        window: samples that are held at most.
        max_samples_per_pack: samples that a row may hold.

    Raises:
        ContractError: `window` or `capacity` is below 1.
    """
    if window < 1 or capacity < 1:
        raise ContractError(f"window {window} and capacity {capacity} must be 1 or more")
    return PackStream(lengths, capacity, window, max_samples_per_pack or UNLIMITED)
