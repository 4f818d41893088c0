"""What a reader of files hands on: rows with their places, and how it says that the rest is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Bad = tuple[str, str]
"""Reason and detail of a row that cannot be used."""

Found = dict[str, Any] | Bad

Rows = Iterator[tuple[str, Found]]
"""Place and content of every row, in order."""


class DamagedFileError(Exception):
    """The file cannot be read from this place on.

    `read_rows` makes a bad row of it when rows came before, and a DataError when the file gave none.
    """

    def __init__(self, place: str, detail: str, fix: str = "write the file again; it may be cut off") -> None:
        self.place, self.detail, self.fix = place, detail, fix
        super().__init__(f"{place}: {detail}")
