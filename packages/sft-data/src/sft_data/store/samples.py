# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# (the libraries used here ship no complete types)
"""The samples of a split: an index into the shards.

train.arrow      sample 0 4 5 2 9 ...      numbers over all shards, in the order of an epoch without shuffling
                 length, trained           tokens and trained tokens of each
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sft_data.store.shard import open_shard
from sft_schema.record import Picture, Pictured, Rendered, RowOrigin, TokenizedSample

_SCHEMA = pa.schema([("sample", pa.int64()), ("length", pa.int32()), ("trained", pa.int32())])
_TOKENS = ("input_ids", "labels", "weights")
_ORIGIN = ("dataset", "row", "place")
_PICTURED = ("before", "pictures")


def write_index(file: Path, columns: Mapping[str, NDArray[np.int64]], shards: Sequence[tuple[str, int]]) -> None:
    """Writes the index of a split.

    Args:
        file: `train.arrow` or `eval.arrow`, beside the shards.
        columns: `sample`, `length` and `trained`, int64 `[n]` each.
        shards: name and number of samples of each shard, in order.
    """
    schema = _SCHEMA.with_metadata({"shards": json.dumps(shards)})
    table = pa.table([pa.array(columns[each.name], each.type) for each in _SCHEMA], schema=schema)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)


class SampleStore(Sequence[TokenizedSample]):
    """The samples of one split; reading one touches only its own bytes.

    Args:
        file: its index, beside the shards.

    Attributes:
        lengths: int64 `[n]`, tokens of each sample.
        trained: int64 `[n]`, trained tokens of each sample.

    Raises:
        DataError: a file is damaged.
    """

    def __init__(self, file: Path) -> None:
        table = open_shard(file)
        shards: list[tuple[str, int]] = json.loads((table.schema.metadata or {}).get(b"shards", b"[]"))
        self._files = [file.parent / name for name, _ in shards]
        self._starts = np.cumsum([0, *(count for _, count in shards)])
        self._samples: NDArray[np.int64] = table["sample"].to_numpy()
        self.lengths: NDArray[np.int64] = table["length"].to_numpy().astype(np.int64)
        self.trained: NDArray[np.int64] = table["trained"].to_numpy().astype(np.int64)

    @cached_property
    def _shards(self) -> list[_Shard]:
        return [_Shard(file) for file in self._files]

    def sources(self) -> tuple[list[str], NDArray[np.int64]]:
        """Names of the data sets, and the index of its own among them for each sample, int64 `[n]`."""
        columns = [open_shard(file)["dataset"].combine_chunks() for file in self._files]
        encoded = pa.chunked_array(columns, pa.string()).combine_chunks().dictionary_encode()
        indices: NDArray[np.int64] = encoded.indices.to_numpy().astype(np.int64)
        used, numbers = np.unique(indices[self._samples], return_inverse=True)
        return [encoded.dictionary[int(each)].as_py() for each in used], numbers.astype(np.int64)

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> TokenizedSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenizedSample]: ...
    def __getitem__(self, index: int | slice) -> TokenizedSample | list[TokenizedSample]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        sample = int(self._samples[index])
        number = int(np.searchsorted(self._starts, sample, side="right")) - 1
        return self._shards[number][sample - int(self._starts[number])]


class _Shard:
    """The samples of one file."""

    def __init__(self, file: Path) -> None:
        self._batches: list[Any] = open_shard(file).to_batches()
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def __getitem__(self, index: int) -> TokenizedSample:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        batch, row = self._batches[number], index - int(self._starts[number])
        ids, labels, weights = (batch.column(name)[row] for name in _TOKENS)
        origin = RowOrigin(*(batch.column(name)[row].as_py() for name in _ORIGIN))
        weighed = weights.values.to_numpy() if weights.is_valid else None
        before, pictures = (batch.column(name)[row] for name in _PICTURED)
        pictured = _pictured(before.as_py(), pictures.as_py()) if before.is_valid else None
        return TokenizedSample(ids.values.to_numpy(), labels.values.to_numpy(), origin, weighed, pictured)


def _pictured(text: str, pictures: Sequence[Mapping[str, str]]) -> Pictured:
    return Pictured(Rendered(text, (), ()), tuple(Picture(each["path"], each["digest"]) for each in pictures))
