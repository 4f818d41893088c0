"""A first look at a data set, before there is a config: some rows, about how many there are, and their format.

JSON, CSV and text files here are read by the readers that `prepare` uses, and nothing heavy is imported for them; all
other sources are read as `prepare` reads them, with the libraries that this takes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sft_data import source
from sft_data.shape import fitting_formats, said_of
from sft_data.source.csv_file import read_csv
from sft_data.source.file_kind import COMPRESSED
from sft_data.source.found import DamagedFileError, Found, Rows
from sft_data.source.json_file import read_json, read_json_lines
from sft_data.source.locate import locate
from sft_data.source.opening import SourceFile
from sft_data.source.text_file import read_text
from sft_schema import DataError
from sft_schema.config import FileKind, FormatName, SourceConfig

_LOOKED_AT = 100
_TOLD_BAD_ROWS = 1000
_LIGHT: dict[FileKind, Callable[[SourceFile], Rows]] = {
    "json": read_json,
    "jsonl": read_json_lines,
    "csv": read_csv,
    "text": read_text,
}


@dataclass(frozen=True, slots=True)
class Peek:
    """What was seen.

    Attributes:
        rows: columns of the first readable rows, at most a hundred.
        bad: rows among them that cannot be read.
        count: rows in all, exact when there are no more than were looked at, else by the size of the files; None
            where that says nothing (packed files, other kinds than text).
        formats: formats whose columns all rows have: one, or several or none, which only the user can tell.
        why: what the rows have that makes them rows of the one format; empty for several or none.
    """

    rows: tuple[dict[str, Any], ...]
    bad: int
    count: int | None
    formats: tuple[FormatName, ...]
    why: str


def peek(cfg: SourceConfig) -> Peek:
    """Looks at the first rows of a data set.

    Raises:
        DataError: there is no such file or data set, or none of its first rows can be read.
    """
    located = locate(cfg)
    files = located if isinstance(located, list) and all(each.filesystem is None for each in located) else []
    light = bool(files) and all(each.kind in _LIGHT for each in files)
    rows: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    found = _light_rows(files) if light else _all_rows(cfg)
    for place, each in islice(found, _LOOKED_AT + _TOLD_BAD_ROWS):
        if not isinstance(each, dict):
            bad.append((place, each[1]))
            continue
        rows.append(each)
        if len(rows) == _LOOKED_AT:
            break
    if not rows:
        detail = f"no row can be read; {bad[0][0]}: {bad[0][1]}" if bad else "there are no rows in it"
        raise DataError(detail, where=f"data set {cfg.path!r}", fix="correct the rows, or the path")
    formats = tuple(fitting_formats(rows))
    why = said_of(rows, formats[0]) if len(formats) == 1 else ""
    return Peek(tuple(rows), len(bad), _count(rows, len(bad), files if light else []), formats, why)


def _light_rows(files: list[SourceFile]) -> Iterator[tuple[str, Found]]:
    for file in files:
        try:
            yield from _LIGHT[file.kind](file)
        except DamagedFileError as damage:
            yield damage.place, ("damaged_file", damage.detail)


def _all_rows(cfg: SourceConfig) -> Iterator[tuple[str, Found]]:
    for row in source.read_rows(cfg):
        values = getattr(row, "values", None)
        yield row.origin.place, values if values is not None else (row.reason, row.detail)  # pyright: ignore


def _count(rows: list[dict[str, Any]], bad: int, files: list[SourceFile]) -> int | None:
    """Rows in all, by their mean size in bytes."""
    if not files or any(file.path.endswith(COMPRESSED) for file in files):
        return None
    if len(rows) < _LOOKED_AT:
        return len(rows)
    looked_at = sum(len(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")) + 1 for row in rows)
    total = sum(os.path.getsize(file.path) for file in files)
    return max(len(rows), round(total * len(rows) / looked_at * len(rows) / (len(rows) + bad)))
