"""Rows between the stages, and the way a stage says that a row is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sft_schema.record import RowOrigin


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the source.

    Attributes:
        values: column to value.
        origin: where it stands.
    """

    values: dict[str, Any]
    origin: RowOrigin


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was set aside.

    Attributes:
        origin: where it stands.
        reason: short stable name, counted in the manifest.
        detail: one sentence with the value.
    """

    origin: RowOrigin
    reason: str
    detail: str


class RowError(Exception):
    """Raised by a stage for a row that it cannot use; `prepare` turns it into a BadRow or a DataError."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")
