"""Token ids with the characters that each token covers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded text of n tokens.

    Attributes:
        ids: int32 `[n]`.
        starts: int64 `[n]`: first character of each token; never falls.
        ends: int64 `[n]`: one past its last character. Tokens that share one character have equal ranges.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def difference(self, other: Encoded) -> str | None:
        """Where two encodings of a text first differ, in ids or characters; None when they are the same."""
        for name in ("ids", "starts", "ends"):
            ours: NDArray[np.integer[Any]] = getattr(self, name)
            theirs: NDArray[np.integer[Any]] = getattr(other, name)
            count = min(len(ours), len(theirs))
            unequal = np.flatnonzero(ours[:count] != theirs[:count])
            if len(unequal) or len(ours) != len(theirs):
                at = int(unequal[0]) if len(unequal) else count
                window = slice(at, at + 5)
                return f"{name} {ours[window].tolist()} and {theirs[window].tolist()} from token {at} on"
        return None

    @classmethod
    def of(cls, encoding: Any) -> Encoded:
        """From a `tokenizers.Encoding`."""
        ids = np.array(encoding.ids, dtype=np.int32)
        offsets = np.fromiter(chain.from_iterable(encoding.offsets), dtype=np.int64, count=2 * len(ids))
        return cls(ids, offsets[::2], offsets[1::2])

    def overlapping(self, start: int, end: int) -> slice:
        """The tokens that cover at least one of the characters `start` to `end` (exclusive)."""
        return self.overlapping_each([(start, end)])[0]

    def overlapping_each(self, ranges: Sequence[tuple[int, int, *tuple[Any, ...]]]) -> list[slice]:
        """The same for several ranges, each a tuple that begins with `start` and `end`."""
        starts, ends = self.starts.data, self.ends.data  # since numpy takes longer to be called than to search
        found: list[slice] = []
        for each in ranges:
            start, end = each[0], each[1]
            first = bisect_right(ends, start) if start < end else 0
            found.append(slice(first, max(first, bisect_left(starts, end, first)) if start < end else 0))
        return found
