"""Splits and parts of them, written as the datasets library writes them: `train`, `train[:10%]`, `a[5:10]+b`.

The rules for percentages (rounded to the nearest row) and negative bounds are those of the datasets library:
https://huggingface.co/docs/datasets/loading#slice-splits
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from sft_schema import DataError

T = TypeVar("T")

_BOUND = r"(-?\d[\d_]*)?\s*(%)?"
_PART = re.compile(rf"\s*([\w.-]+)\s*(?:\[\s*{_BOUND}\s*:\s*{_BOUND}\s*\])?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a part: a number of rows, negative when counted from the end, or a percentage of them."""

    value: int
    percent: bool

    def at(self, total: int) -> int:
        """The row number in a split of `total` rows."""
        value = round(self.value * total / 100) if self.percent else self.value
        return min(max(value + total, 0) if value < 0 else value, total)


@dataclass(frozen=True, slots=True)
class SplitPart:
    """Rows `start` to `stop` (exclusive) of a split; None is its beginning or end."""

    name: str
    start: Bound | None = None
    stop: Bound | None = None

    @property
    def needs_count(self) -> bool:
        """Whether the number of rows must be known to know which rows these are."""
        return any(each is not None and (each.percent or each.value < 0) for each in (self.start, self.stop))

    def of(self, rows: Callable[[], Iterator[T]]) -> Iterator[T]:
        """These rows, of all rows of the split; read once more beforehand when they must be counted."""
        total = sum(1 for _ in rows()) if self.needs_count else None
        first, last = (_index(each, total) for each in (self.start, self.stop))
        return islice(rows(), first or 0, last)


def _index(bound: Bound | None, total: int | None) -> int | None:
    if bound is None:
        return None
    return bound.value if total is None else bound.at(total)


def parse_split(text: str, where: str) -> tuple[SplitPart, ...]:
    """The parts of a split; they are read one after the other.

    Raises:
        DataError: it is not written as a split is.
    """
    return tuple(_part(each, text, where) for each in text.split("+"))


def _part(part: str, text: str, where: str) -> SplitPart:
    found = _PART.fullmatch(part)
    if found is None:
        fix = "write a name, or a part such as `train[:10%]`, `train[100:200]` or `train[-500:]`; join parts with +"
        raise DataError(f"{text!r} is no split", where=where, fix=fix)
    name, start, start_percent, stop, stop_percent = found.groups()
    bounds = [
        None if value is None else Bound(int(value.replace("_", "")), percent is not None)
        for value, percent in ((start, start_percent), (stop, stop_percent))
    ]
    return SplitPart(name, *bounds)
