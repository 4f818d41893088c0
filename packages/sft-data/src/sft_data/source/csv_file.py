"""CSV and TSV files: the first line names the columns, every cell is a text."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from sft_data.source.file_kind import endings
from sft_data.source.found import DamagedFileError, Found, Rows
from sft_data.source.opening import SourceFile, open_text, reading

LONGEST_CELL = 256 << 20
"""Characters. Python's own limit of 128 K would refuse long documents."""


def read_csv(file: SourceFile) -> Rows:
    """One row a record; a record may have line breaks inside quotes, its place is its first line.

    Raises:
        DataError: the file cannot be opened.
        DamagedFileError: its header is wrong, or it cannot be read from some place on.
    """
    csv.field_size_limit(LONGEST_CELL)
    line = 1
    with reading(lambda: f"{file.address}:{line}"), open_text(file) as handle:
        # undecodable bytes become lone surrogates, so that they spoil their own row alone
        text = io.TextIOWrapper(handle, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, delimiter="\t" if endings(file.address)[0] == ".tsv" else ",", strict=True)
        header = _header(next(reader, list[str]()), file)
        line = reader.line_num + 1
        for cells in _records(reader):
            if cells:
                yield f"{file.address}:{line}", _row(cells, header)
            line = reader.line_num + 1


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | str]:
    """Cells of every record, or why the record is none."""
    while True:
        try:
            yield next(reader)
        except csv.Error as error:
            yield str(error)
        except StopIteration:
            return


def _row(cells: list[str] | str, header: list[str]) -> Found:
    if isinstance(cells, str):
        return "not_csv", cells
    if len(cells) != len(header):
        return "ragged_row", f"{len(cells)} cells under {len(header)} columns"
    if any(not cell.isascii() and _undecoded(cell) for cell in cells):
        return "not_utf8", "a cell is not UTF-8"
    return dict(zip(header, cells, strict=True))


def _undecoded(cell: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in cell)


def _header(names: list[str], file: SourceFile) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    nameless = not all(name.strip() for name in names) or any(map(_undecoded, names))
    if twice or nameless:
        problem = f"a column has no readable name: {names}" if nameless else f"two columns are called {twice[0]!r}"
        raise DamagedFileError(f"{file.address}:1", problem, "give every column a name of its own in the first line")
    return names
