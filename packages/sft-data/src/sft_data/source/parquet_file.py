# pyright: reportUnknownMemberType=false
# (the libraries used here ship no complete types)
"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from sft_schema import DataError


def read_parquet(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of every row.

    Raises:
        DataError: the file is not Parquet or is damaged.
    """
    number = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                yield f"{file} row {number}", cast("dict[str, Any]", _without_filled(values))
                number += 1
    except (pa.ArrowInvalid, OSError) as error:
        fix = "write the file again; it may be cut off"
        raise DataError(f"not a readable Parquet file: {error}", where=f"{file} row {number}", fix=fix) from None


def _without_filled(value: Any) -> Any:
    """The value without the None that Arrow fills into structs for keys that a row did not have.

    Arrow stores a list of messages as structs of one schema, so a key of any message becomes a None in all others.
    """
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _without_filled(each) for key, each in items if each is not None or key == "content"}
    if isinstance(value, list):
        return [_without_filled(each) for each in cast("list[Any]", value)]
    return value
