"""Rows that share most of their words: MinHash with banding.

A. Z. Broder, "On the resemblance and containment of documents", 1997: the part of equal minima under many hash
functions estimates the Jaccard similarity of two sets, here of the sequences of five words in two rows. Rows that agree
in a whole band of minima are compared (P. Indyk and R. Motwani, "Approximate nearest neighbors", 1998). With 126 minima
the estimate is right to about 0.04; at the threshold less than one pair in 200 is missed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_WORDS_TOGETHER = 5
_MINIMA = 126
_ROWS_OF_BAND = 3
_WORD = re.compile(r"\w+")
_SYSTEM = ("system", "developer")
_SEEDS = np.random.default_rng(1997).integers(0, 2**64, size=(_MINIMA, 1), dtype=np.uint64)


def words_of(values: Any, without: str) -> Iterator[str]:
    """The words of all texts of a row, in lower case.

    System messages and the column `without` (tools) are left out: they are often the same in rows that differ.
    """
    if isinstance(values, str):
        yield from (found.group().lower() for found in _WORD.finditer(values))
    elif isinstance(values, dict):
        row = cast("dict[str, Any]", values)
        if row.get("role", row.get("from")) not in _SYSTEM:
            for key, each in row.items():
                yield from words_of(each, without) if key != without else ()
    elif isinstance(values, list):
        for each in cast("list[Any]", values):
            yield from words_of(each, without)


class SeenWords:
    """Remembers rows by their minima: about 3 KB for each.

    Args:
        threshold: similarity from which on two rows count as the same, 0.5 to 1.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._minima: list[NDArray[np.uint32]] = []
        self._rows: list[int] = []
        self._bands: dict[tuple[int, bytes], list[int]] = {}

    def twin(self, minima: NDArray[np.uint32], row: int) -> tuple[int, float] | None:
        """Number of a similar row that came before, and how similar it is; None for a new one, which is kept.

        Args:
            minima: uint32 `[126]`, see `minima_of`.
            row: number of the row.
        """
        bands = [(number, band.tobytes()) for number, band in enumerate(minima.reshape(-1, _ROWS_OF_BAND))]
        candidates = sorted({known for band in bands for known in self._bands.get(band, ())})
        for known in candidates:
            similarity = float((self._minima[known] == minima).mean())
            if similarity >= self._threshold:
                return self._rows[known], similarity
        for band in bands:
            self._bands.setdefault(band, []).append(len(self._minima))
        self._minima.append(minima)
        self._rows.append(row)
        return None


def minima_of(values: Any, without: str) -> NDArray[np.uint32] | None:
    """The smallest value of each hash function over a row's sequences of five words; None when it has no words.

    Args:
        values: of the row.
        without: a column to leave out.

    Returns:
        uint32 `[126]`.
    """
    words = list(words_of(values, without))
    if not words:
        return None
    hashes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], dtype=np.uint64)
    width = min(_WORDS_TOGETHER, len(hashes))
    sequences = np.zeros(len(hashes) - width + 1, dtype=np.uint64)
    for shift in range(width):
        sequences = _mixed(sequences + hashes[shift : shift + len(sequences)])
    smallest = np.full(_MINIMA, np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(sequences), 4096):  # 4 MB at a time
        block = _mixed(np.unique(sequences[start : start + 4096]) ^ _SEEDS)
        smallest = np.minimum(smallest, block.min(axis=1))
    return (smallest >> np.uint64(32)).astype(np.uint32)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input changes half of the output."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
