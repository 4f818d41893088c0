# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the libraries used here ship no complete types)
"""Parquet and Arrow files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from sft_data.source.found import DamagedFileError, Rows
from sft_data.source.opening import SourceFile, one_line, open_binary, read_errors

_ROWS_AT_A_TIME = 1024


def read_parquet(file: SourceFile) -> Rows:
    """Every row, a thousand at a time; raises as `read_arrow`."""
    with open_binary(file) as handle:
        yield from _rows(file, "Parquet", lambda: _parquet_batches(handle))


def read_arrow(file: SourceFile) -> Rows:
    """Every row of an Arrow file or stream, one record batch at a time.

    Raises:
        DataError: the file cannot be opened.
        DamagedFileError: it cannot be read from some row on.
    """
    with open_binary(file) as handle:
        yield from _rows(file, "Arrow", lambda: _arrow_batches(handle))


def _rows(file: SourceFile, what: str, batches: Any) -> Rows:
    number = 0
    try:
        for batch in batches():
            for values in batch.to_pylist():
                yield f"{file.address} row {number}", cast("dict[str, Any]", without_filled(values))
                number += 1
    except (pa.ArrowException, UnicodeDecodeError, *read_errors()) as error:
        detail = f"not a readable {what} file: {one_line(error)}"
        raise DamagedFileError(f"{file.address} row {number}", detail) from None


def _parquet_batches(handle: Any) -> Iterator[Any]:
    opened = pq.ParquetFile(handle)
    _refuse_twins(opened.schema_arrow)
    yield from opened.iter_batches(batch_size=_ROWS_AT_A_TIME)


def _arrow_batches(handle: Any) -> Iterator[Any]:
    head = handle.read(6)
    handle.seek(0)
    if head == b"ARROW1":
        opened = pa.ipc.open_file(handle)
        _refuse_twins(opened.schema)
        yield from (opened.get_batch(index) for index in range(opened.num_record_batches))
    else:
        stream = pa.ipc.open_stream(handle)
        _refuse_twins(stream.schema)
        yield from stream


def _refuse_twins(schema: Any) -> None:
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise pa.ArrowInvalid(f"two columns are called {twice[0]!r}")


def without_filled(value: Any) -> Any:
    """The value without the None that Arrow fills into structs for keys that a row did not have.

    Arrow stores a list of messages as structs of one schema, so a key of any message becomes a None in all others.
    """
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: without_filled(each) for key, each in items if each is not None or key == "content"}
    if isinstance(value, list):
        return [without_filled(each) for each in cast("list[Any]", value)]
    return value
