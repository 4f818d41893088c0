"""Token ids with the characters that each token covers."""

from __future__ import annotations

from dataclasses import dataclass
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

    @classmethod
    def of(cls, encoding: Any) -> Encoded:
        """From a `tokenizers.Encoding`."""
        offsets = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return cls(np.asarray(encoding.ids, dtype=np.int32), offsets[:, 0], offsets[:, 1])

    def overlapping(self, start: int, end: int) -> slice:
        """The tokens that cover at least one of the characters `start` to `end` (exclusive)."""
        if start >= end:
            return slice(0, 0)
        first = int(np.searchsorted(self.ends, start, side="right"))
        return slice(first, max(first, int(np.searchsorted(self.starts, end, side="left"))))
