"""`type: auto`: the format of a data set from the columns of its first rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from sft_data.row import BadRow, Row
from sft_data.source import read_rows
from sft_data.split_account import dataset_names
from sft_schema import DataError, SftConfig
from sft_schema.config import DatasetConfig, FormatName

_LOOKED_AT = 100
_TOLD_BAD_ROWS = 1000
"""Rows that cannot be read do not count, up to this many: a file of nothing else is not read to its end for this."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in cast("list[object]", value))


def _is_messages(value: object) -> bool:
    if not isinstance(value, str):
        return _is_objects(value)
    try:
        return _is_objects(json.loads(value))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Shape:
    """Columns that tell a format.

    Attributes:
        format: what rows of this shape are read as.
        columns: columns that the row must have, and what their values must be.
        without: columns that say something else: with a value in one of them this is not the shape.
        said: what the row has, in words.
    """

    format: FormatName
    columns: Mapping[str, Callable[[object], bool]]
    said: str
    without: tuple[str, ...] = ()

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether a row has this shape; a null is no value."""
        if any(values.get(name) is not None for name in self.without):
            return False
        return all(check(values.get(name)) for name, check in self.columns.items())


_TASK = {"instruction": _is_text, "output": _is_text}
SHAPES: tuple[Shape, ...] = (
    Shape("chat_template", {"messages": _is_messages}, "a list of messages in 'messages'"),
    Shape("chat_template", {"conversations": _is_messages}, "a list of messages in 'conversations'"),
    # alpaca would leave a system message out, so a row that has one is of the relative that reads it
    Shape("alpaca", _TASK, "a text in 'instruction' and a text in 'output'", without=("system",)),
    Shape(
        "alpaca_w_system",
        {"system": _is_text, **_TASK},
        "a text in 'system', a text in 'instruction' and a text in 'output'",
    ),
    Shape(
        "prompt_completion",
        {"prompt": _is_text, "completion": _is_text},
        "a text in 'prompt' and a text in 'completion'",
    ),
    Shape("input_output", {"segments": _is_objects}, "a list of pieces in 'segments'"),
    Shape("tokenized", {"input_ids": _is_list, "labels": _is_list}, "a list in 'input_ids' and a list in 'labels'"),
    Shape("completion", {"text": _is_text}, "a text in 'text'"),
)
"""The shapes that are known. What is not here, `type` has to name."""


def settle_formats(cfg: SftConfig) -> tuple[SftConfig, tuple[str, ...]]:
    """Puts the format that the rows show in place of every `type: auto`.

    Args:
        cfg: the config; it is not changed.

    Returns:
        A config whose entries of `datasets` and `test_datasets` all name a format, and a sentence for each
        `type: auto` that says which it is, and why.

    Raises:
        DataError: a data set's first 100 rows are of no known shape, not all of one format, or of several formats; or
            it cannot be read.
    """
    both = (*cfg.datasets, *cfg.test_datasets)
    if all(dataset.type != "auto" for dataset in both):
        return cfg, ()
    settled: list[DatasetConfig] = []
    sentences: list[str] = []
    for dataset, name in zip(both, dataset_names(both), strict=True):
        if dataset.type == "auto":
            found, sentence = _settle(dataset, name)
            settled.append(found)
            sentences.append(sentence)
        else:
            settled.append(dataset)
    count = len(cfg.datasets)
    update = {"datasets": tuple(settled[:count]), "test_datasets": tuple(settled[count:])}
    return cfg.model_copy(update=update), tuple(sentences)


def _settle(dataset: DatasetConfig, name: str) -> tuple[DatasetConfig, str]:
    rows = _first_rows(dataset, name)
    formats = dict.fromkeys(shape.format for shape in SHAPES)
    fitting = [each for each in formats if all(_shapes(row, each) for row in rows)]
    if len(fitting) != 1:
        raise _undecided(rows, fitting, name)
    sentence = f"{name}: type is {fitting[0]}, since each of the first {len(rows)} rows has {_said(rows, fitting[0])}"
    return dataset.model_copy(update={"type": fitting[0]}), sentence


def _said(rows: Sequence[Row], name: str) -> str:
    """What the rows have that makes them rows of a format."""
    return " or ".join(dict.fromkeys(_shapes(row, name)[0].said for row in rows))


def _first_rows(dataset: DatasetConfig, name: str) -> list[Row]:
    good: list[Row] = []
    bad: list[BadRow] = []
    for row in islice(read_rows(dataset), _LOOKED_AT + _TOLD_BAD_ROWS):
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        good.append(row)
        if len(good) == _LOOKED_AT:
            break
    if not good:
        message = f"no row of the first {len(bad)} can be read; {bad[0].origin.place}: {bad[0].detail}"
        raise DataError(message, where=f"data set {name!r}", fix="correct the rows")
    return good


def _shapes(row: Row, name: str) -> list[Shape]:
    return [shape for shape in SHAPES if shape.format == name and shape.fits(row.values)]


def _undecided(rows: Sequence[Row], fitting: Sequence[str], name: str) -> DataError:
    columns = sorted({column for row in rows for column in row.values})
    known = list(dict.fromkeys(shape.format for shape in SHAPES))
    if fitting:
        has = " and ".join(_said(rows, each) for each in fitting)
        message = f"the first {len(rows)} rows have the shape of several formats: {has}; their columns are {columns}"
        fix = "write " + " or ".join(f"`type: {each}`" for each in fitting)
        return DataError(message, where=f"data set {name!r}, type", fix=fix)
    some = [f"{sum(bool(_shapes(row, each)) for row in rows)} of {each}" for each in known]
    counted = ", ".join(each for each in some if not each.startswith("0 ")) or "none of any"
    message = f"the first {len(rows)} rows have together the shape of no format; their columns are {columns}"
    fix = f"write `type: NAME` ({', '.join(known)}, or another), or divide rows of several formats"
    return DataError(f"{message}, rows by format: {counted}", where=f"data set {name!r}, type", fix=fix)
