# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# (the libraries used here ship no complete types)
"""Tokenised samples in an Arrow file that is read through a memory map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sft_schema import IGNORE_INDEX, DataError
from sft_schema.record import RowOrigin, TokenizedSample

_SCHEMA = pa.schema(
    [
        ("input_ids", pa.large_list(pa.int32())),
        ("labels", pa.large_list(pa.int32())),
        ("dataset", pa.string()),
        ("row", pa.int64()),
        ("place", pa.string()),
        ("weights", pa.large_list(pa.float32())),  # null when every trained token counts 1
    ]
)
_ROWS_PER_BATCH = 8192


def write_samples(file: Path, samples: Sequence[TokenizedSample]) -> None:
    """Writes samples in batches."""
    remaining = iter(samples)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        while batch := list(islice(remaining, _ROWS_PER_BATCH)):
            columns = [
                pa.array([sample.input_ids for sample in batch], _SCHEMA.field("input_ids").type),
                pa.array([sample.labels for sample in batch], _SCHEMA.field("labels").type),
                pa.array([sample.origin.dataset for sample in batch], pa.string()),
                pa.array([sample.origin.row for sample in batch], pa.int64()),
                pa.array([sample.origin.place for sample in batch], pa.string()),
                pa.array([sample.weights for sample in batch], _SCHEMA.field("weights").type),
            ]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


class SampleStore(Sequence[TokenizedSample]):
    """The samples of one file; reading one touches only its own bytes.

    Attributes:
        lengths: int64 `[n]`, tokens of each sample.
        trained: int64 `[n]`, trained tokens of each sample.

    Raises:
        DataError: the file is damaged.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._table: Any = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            fix = "delete its folder: the data is prepared again"
            raise DataError(f"prepared data is damaged: {error}", where=str(file), fix=fix) from None
        self._batches: list[Any] = self._table.to_batches()
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        per_batch = [_lengths(batch) for batch in self._batches]
        empty = np.empty(0, dtype=np.int64)
        self.lengths: NDArray[np.int64] = np.concatenate([empty, *(lengths for lengths, _ in per_batch)])
        self.trained: NDArray[np.int64] = np.concatenate([empty, *(trained for _, trained in per_batch)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> TokenizedSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenizedSample]: ...
    def __getitem__(self, index: int | slice) -> TokenizedSample | list[TokenizedSample]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        batch, row = self._batches[number], index - int(self._starts[number])
        ids, labels, dataset, line, place, weights = (column[row] for column in batch.columns)
        origin = RowOrigin(dataset.as_py(), line.as_py(), place.as_py())
        weighed = weights.values.to_numpy() if weights.is_valid else None
        return TokenizedSample(ids.values.to_numpy(), labels.values.to_numpy(), origin, weighed)


def _lengths(batch: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    labels = batch.column(1)
    offsets: NDArray[np.int64] = labels.offsets.to_numpy()
    trained = np.concatenate([[0], np.cumsum(labels.values.to_numpy() != IGNORE_INDEX)])
    return np.diff(offsets), trained[offsets[1:]] - trained[offsets[:-1]]
