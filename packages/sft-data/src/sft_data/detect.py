"""`type: auto`: the format of a data set from the columns of its first rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from sft_data.row import BadRow, Row
from sft_data.shape import SHAPES, fitting_formats, said_of, shapes_of
from sft_data.source import read_rows
from sft_data.split_account import dataset_names
from sft_schema import DataError, SftConfig
from sft_schema.config import DatasetConfig

_LOOKED_AT = 100
_TOLD_BAD_ROWS = 1000
"""Rows that cannot be read do not count, up to this many: a file of nothing else is not read to its end for this."""


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
    fitting = fitting_formats([row.values for row in rows])
    if len(fitting) != 1:
        raise _undecided(rows, fitting, name)
    sentence = f"{name}: type is {fitting[0]}, since each of the first {len(rows)} rows has {_said(rows, fitting[0])}"
    return dataset.model_copy(update={"type": fitting[0]}), sentence


def _said(rows: Sequence[Row], name: str) -> str:
    return said_of([row.values for row in rows], name)


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


def _undecided(rows: Sequence[Row], fitting: Sequence[str], name: str) -> DataError:
    columns = sorted({column for row in rows for column in row.values})
    known = list(dict.fromkeys(shape.format for shape in SHAPES))
    if fitting:
        has = " and ".join(_said(rows, each) for each in fitting)
        message = f"the first {len(rows)} rows have the shape of several formats: {has}; their columns are {columns}"
        fix = "write " + " or ".join(f"`type: {each}`" for each in fitting)
        return DataError(message, where=f"data set {name!r}, type", fix=fix)
    some = [f"{sum(bool(shapes_of(row.values, each)) for row in rows)} of {each}" for each in known]
    counted = ", ".join(each for each in some if not each.startswith("0 ")) or "none of any"
    message = f"the first {len(rows)} rows have together the shape of no format; their columns are {columns}"
    fix = f"write `type: NAME` ({', '.join(known)}, or another), or divide rows of several formats"
    return DataError(f"{message}, rows by format: {counted}", where=f"data set {name!r}, type", fix=fix)
