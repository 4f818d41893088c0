# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the libraries used here ship no complete types)
"""Texts and pictures behind the samples of a split: the file beside that of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from sft_schema import DataError
from sft_schema.record import Picture, TokenizedSample

_PICTURE = pa.struct([("path", pa.string()), ("digest", pa.string())])
_SCHEMA = pa.schema([("text", pa.large_string()), ("pictures", pa.list_(_PICTURE))])
_ROWS_PER_BATCH = 8192


def pictured_file(folder: Path, split: str) -> Path:
    """Where the pictures of a split are named; the file is there only when there is a processor."""
    return folder / f"{split}.pictures.arrow"


def write_pictured(file: Path, samples: Sequence[TokenizedSample]) -> None:
    """Writes text and pictures of every sample, in the samples' order; no pixels."""
    remaining = iter(samples)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        while batch := list(islice(remaining, _ROWS_PER_BATCH)):
            rows = [_row(sample) for sample in batch]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=_SCHEMA))


def _row(sample: TokenizedSample) -> dict[str, Any]:
    assert sample.pictured is not None, "with a processor every sample keeps its text"
    pictures = [{"path": each.path, "digest": each.digest} for each in sample.pictured.pictures]
    return {"text": sample.pictured.before.text, "pictures": pictures}


class PicturedStore:
    """Text and pictures by sample, read through a memory map.

    Raises:
        DataError: the file is damaged or missing.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._table: Any = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            fix = "delete its folder: the data are prepared again"
            raise DataError(f"prepared data are damaged: {error}", where=str(file), fix=fix) from None

    def __len__(self) -> int:
        return self._table.num_rows

    def __getitem__(self, index: int) -> tuple[str, tuple[Picture, ...]]:
        """The text with one placeholder per picture, and the pictures."""
        row: dict[str, Any] = self._table.slice(index, 1).to_pylist()[0]
        return row["text"], tuple(Picture(each["path"], each["digest"]) for each in row["pictures"])
