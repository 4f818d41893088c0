"""Blocks of rows: what is read, worked on and stored at a time.

A block is a few thousand rows of one data set that follow one another. Where blocks begin depends on the rows alone, so
the stored files are the same however many processes work on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from sft_data.row import BadRow, Row
from sft_data.source import read_rows
from sft_schema import SftConfig
from sft_schema.config import DatasetConfig

_MOST_ROWS = 2048
_MOST_CHARACTERS = 1 << 24
"""A block of long rows ends earlier, so that a few blocks always fit into memory."""


@dataclass(frozen=True, slots=True)
class Part:
    """One data set of a split.

    Attributes:
        split: `train` or `eval`.
        number: its place among the data sets of the split.
    """

    split: str
    number: int

    def dataset(self, cfg: SftConfig) -> DatasetConfig:
        """Its entry in the config."""
        return (cfg.datasets if self.split == "train" else cfg.test_datasets)[self.number]


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of one data set.

    Attributes:
        number: of the block, over all data sets.
        part: the data set.
        rows: in order.
        characters: about how much memory they take.
    """

    number: int
    part: Part
    rows: tuple[Row | BadRow, ...]
    characters: int


def parts_of(cfg: SftConfig) -> list[Part]:
    """The data sets of a config in the order in which they are read."""
    train = [Part("train", number) for number in range(len(cfg.datasets))]
    return train + [Part("eval", number) for number in range(len(cfg.test_datasets))]


def read_blocks(cfg: SftConfig) -> Iterator[Block]:
    """All rows of all data sets; raises DataError when a source cannot be read."""
    number = 0
    for part in parts_of(cfg):
        for rows, characters in _cut(read_rows(part.dataset(cfg))):
            yield Block(number, part, rows, characters)
            number += 1


def _cut(rows: Iterator[Row | BadRow]) -> Iterator[tuple[tuple[Row | BadRow, ...], int]]:
    block: list[Row | BadRow] = []
    characters = 0
    for row in rows:
        block.append(row)
        characters += _characters(row.values) if isinstance(row, Row) else 0
        if len(block) >= _MOST_ROWS or characters >= _MOST_CHARACTERS:
            yield tuple(block), characters
            block, characters = [], 0
    if block:
        yield tuple(block), characters


def _characters(value: Any) -> int:
    """About how much memory a value takes, in characters; one that is nested without end counts to some depth."""
    total, level = 0, [value]
    for _ in range(20):
        deeper: list[Any] = []
        for each in level:
            if isinstance(each, str | bytes):
                total += len(each)
            elif isinstance(each, dict):
                deeper.extend(cast("dict[str, Any]", each).values())
            elif isinstance(each, list):
                deeper.extend(cast("list[Any]", each))
            total += 8
        if not deeper:
            break
        level = deeper
    return total
