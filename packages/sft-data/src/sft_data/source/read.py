"""Rows of a data set, in a fixed order, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np

from sft_data.row import BadRow, Row
from sft_data.source.arrow_file import read_arrow, read_parquet
from sft_data.source.csv_file import read_csv
from sft_data.source.found import DamagedFileError, Rows
from sft_data.source.hub import hub_rows, saved_rows
from sft_data.source.json_file import read_json, read_json_lines
from sft_data.source.locate import SavedFolder, locate
from sft_data.source.opening import SourceFile
from sft_data.source.split import parse_split
from sft_data.source.text_file import read_text
from sft_schema import DataError
from sft_schema.config import FileKind, SourceConfig
from sft_schema.record import RowOrigin

_READERS: dict[FileKind, Callable[[SourceFile], Rows]] = {
    "json": read_json,
    "jsonl": read_json_lines,
    "csv": read_csv,
    "text": read_text,
    "parquet": read_parquet,
    "arrow": read_arrow,
}


def read_rows(cfg: SourceConfig) -> Iterator[Row | BadRow]:
    """Every row of a data set: usable rows and, in their place, rows that cannot be read.

    A file that is damaged after its first row ends in one bad row, `damaged_file`, and its rows before that count.

    Raises:
        DataError: there is no such file or data set, a file as a whole cannot be read, or there are no rows.
    """
    numbers = count()
    for place, found in _piece(_split(cfg), cfg):
        origin = RowOrigin(cfg.path, next(numbers), place)
        yield Row(found, origin) if isinstance(found, dict) else BadRow(origin, *found)
    if next(numbers) == 0:
        where, fix = f"data set {cfg.path!r}, split {cfg.split!r}", "remove the entry, or correct its path and split"
        raise DataError("there are no rows in it", where=where, fix=fix)


def _split(cfg: SourceConfig) -> Rows:
    source = locate(cfg)
    if source is None:
        yield from hub_rows(cfg)
    elif isinstance(source, SavedFolder):
        yield from saved_rows(source, cfg)
    else:
        yield from _file_rows(source, cfg)


def _file_rows(files: list[SourceFile], cfg: SourceConfig) -> Rows:
    for part in parse_split(cfg.split, f"data set {cfg.path!r}"):
        yield from part.of(lambda: (row for file in files for row in _rows_of(file)))


def _rows_of(file: SourceFile) -> Rows:
    rows = 0
    try:
        for row in _READERS[file.kind](file):
            rows += 1
            yield row
    except DamagedFileError as damage:
        if not rows:
            raise DataError(damage.detail, where=damage.place, fix=damage.fix) from None
        yield damage.place, ("damaged_file", f"{damage.detail}; the rest of the file is lost")


def _piece(rows: Rows, cfg: SourceConfig) -> Rows:
    """The piece `shards_idx` of `shards`: of every `shards` rows that follow one another a random one.

    The choice depends on the position alone, not on the seed: the pieces of different runs never overlap.
    """
    if cfg.shards is None:
        yield from rows
        return
    order = np.empty(0, dtype=np.int64)
    for index, row in enumerate(rows):
        block, position = divmod(index, cfg.shards)
        if position == 0:
            order = np.random.default_rng([cfg.shards, block]).permutation(cfg.shards)
        if order[position] == cfg.shards_idx:
            yield row
