"""Contract of a source: a data set of the config to rows in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sft_schema.config import DatasetConfig
from sft_schema.errors import ContractError, DataError
from sft_schema.record import RowOrigin


def check_source(
    read: Callable[[DatasetConfig], Iterable[Any]], cfg: DatasetConfig, *, missing: DatasetConfig | None = None
) -> int:
    """Every row comes with its place, in the same order each time; bad rows come too, with a reason.

    A row has `origin` and either `values` (column to value) or `reason` and `detail`. Nothing is left out: origins
    are numbered from 0 without a gap, so that rows in equal rows out plus rows set aside.

    Args:
        read: called as `read(cfg)`.
        cfg: a data set that exists and has at least one usable row.
        missing: one that does not exist, if there can be such a thing; it must end in a DataError.

    Returns:
        How many rows there are.

    Raises:
        ContractError: a promise is broken, with the row.
    """
    rows = list(read(cfg))
    places: set[str] = set()
    for number, row in enumerate(rows):
        _check_row(row, number, cfg)
        places.add(row.origin.place)
    if len(places) < len(rows):
        raise ContractError(f"{len(rows)} rows of {cfg.path!r} name {len(places)} places: a row could not be found")
    if not any(hasattr(row, "values") for row in rows):
        raise ContractError(f"{cfg.path!r} has no usable row, so nothing was checked")
    if [_content(row) for row in read(cfg)] != [_content(row) for row in rows]:
        raise ContractError(f"reading {cfg.path!r} twice gives two different lists of rows")
    if missing is not None:
        _check_missing(read, missing)
    return len(rows)


def _check_row(row: Any, number: int, cfg: DatasetConfig) -> None:
    what = f"row {number} of {cfg.path!r}"
    origin: object = getattr(row, "origin", None)
    if not isinstance(origin, RowOrigin):
        raise ContractError(f"{what} has no `origin`: {row!r}")
    if (origin.dataset, origin.row) != (cfg.path, number) or not origin.place:
        raise ContractError(f"{what} says it is {origin}")
    values: Any = getattr(row, "values", None)
    if isinstance(values, dict):
        if not all(isinstance(key, str) for key in values):  # pyright: ignore
            raise ContractError(f"{what} has a column whose name is not a text: {values!r}")
        return
    reason, detail = getattr(row, "reason", None), getattr(row, "detail", None)
    if not (isinstance(reason, str) and reason and isinstance(detail, str) and detail):
        raise ContractError(f"{what} has neither `values` nor `reason` and `detail`: {row!r}")


def _content(row: Any) -> tuple[RowOrigin, str]:
    return row.origin, repr(getattr(row, "values", None) or (row.reason, row.detail))


def _check_missing(read: Callable[[DatasetConfig], Iterable[Any]], cfg: DatasetConfig) -> None:
    try:
        found = len(list(read(cfg)))
    except DataError as error:
        if cfg.path not in str(error):
            raise ContractError(f"the error does not name the missing data set {cfg.path!r}: {error}") from error
        return
    raise ContractError(f"{cfg.path!r} does not exist and gave {found} rows instead of a DataError")
