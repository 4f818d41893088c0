"""Typed reading of a row's columns."""

from __future__ import annotations

from typing import Any

from sft_data.row import Row, RowError


def text_column(row: Row, name: str, *, required: bool = True) -> str:
    """The text in a column; an optional column that is absent or null is an empty text.

    Raises:
        RowError: `missing_column` or `wrong_type`.
    """
    value: Any = row.values.get(name)
    if value is None:
        if not required:
            return ""
        raise RowError("missing_column", f"no {name!r}; the row has {sorted(row.values)}")
    if not isinstance(value, str):
        raise RowError("wrong_type", f"{name!r} is a {type(value).__name__}, not a text")
    return value
