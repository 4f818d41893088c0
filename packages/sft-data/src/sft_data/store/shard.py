# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# (the libraries used here ship no complete types)
"""Shards: the samples of one block of rows in an Arrow file, with the account of the block beside it.

shard-00003.arrow    the samples, and the columns by which samples of different shards are compared
shard-00003.json     the account of the rows; written last: where it is, the samples are whole
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sft_schema import IGNORE_INDEX, DataError
from sft_schema.record import TokenizedSample

DIGEST_BYTES = 16

SCHEMA = pa.schema(
    [
        ("input_ids", pa.large_list(pa.int32())),
        ("labels", pa.large_list(pa.int32())),
        ("weights", pa.large_list(pa.float32())),  # null when every trained token counts 1
        ("dataset", pa.string()),
        ("row", pa.int64()),
        ("place", pa.string()),
        ("length", pa.int32()),
        ("trained", pa.int32()),
        ("whole", pa.int32()),
        ("piece", pa.int32()),
        ("digest", pa.binary(DIGEST_BYTES)),
        ("text", pa.binary(DIGEST_BYTES)),
        ("minima", pa.list_(pa.uint32())),  # null without a search for near duplicates
        ("before", pa.large_string()),  # with a processor: the text with a placeholder for each picture
        ("pictures", pa.list_(pa.struct([("path", pa.string()), ("digest", pa.string())]))),
    ]
)
_NUMBERS = ("row", "length", "trained", "whole", "piece")
_ROWS_PER_BATCH = 1024


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A sample as it is stored.

    Attributes:
        sample: the tokens.
        whole: tokens of the sample that it is a piece of.
        piece: number of the piece, from 0.
        digest: 16 bytes for the whole sample's tokens and labels.
        text: 16 bytes for this sample's tokens.
        minima: uint32 `[k]` for the search for near duplicates, or None.
    """

    sample: TokenizedSample
    whole: int
    piece: int
    digest: bytes
    text: bytes
    minima: NDArray[np.uint32] | None


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """What is known of a shard without opening it.

    Attributes:
        number: of the block.
        samples: how many are in it.
        sha256: of the Arrow file.
        account: of the block's rows, as JSON values.
    """

    number: int
    samples: int
    sha256: str
    account: Mapping[str, Any]


def shard_name(number: int) -> str:
    """Name of the Arrow file of a shard."""
    return f"shard-{number:05d}.arrow"


def write_shard(folder: Path, number: int, rows: Sequence[ShardRow], account: Mapping[str, Any]) -> ShardInfo:
    """Writes a shard so that it is there whole or not at all, also when the machine stops.

    Args:
        folder: of the shards.
        number: of the block.
        rows: its samples, in order.
        account: of its rows, as JSON values.
    """
    file = folder / shard_name(number)
    # a process that was thought dead may write it too, on another machine
    unfinished = folder / f".{file.name}-{os.uname().nodename}-{os.getpid()}"
    with pa.OSFile(str(unfinished), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for start in range(0, len(rows), _ROWS_PER_BATCH):
            writer.write_batch(_record_batch(rows[start : start + _ROWS_PER_BATCH]))
    sha256 = file_digest(unfinished)
    _settle(unfinished, file)
    info = {"samples": len(rows), "sha256": sha256, "account": account}
    unfinished.write_text(json.dumps(info), encoding="utf-8")
    _settle(unfinished, file.with_suffix(".json"))
    return ShardInfo(number, len(rows), sha256, account)


def _settle(unfinished: Path, file: Path) -> None:
    """Puts a file in its place once its bytes are on the disk."""
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.rename(file)


def _record_batch(rows: Sequence[ShardRow]) -> Any:
    samples = [row.sample for row in rows]
    columns: dict[str, Any] = {
        "input_ids": _lists([sample.input_ids for sample in samples], np.int32),
        "labels": _lists([sample.labels for sample in samples], np.int32),
        "weights": _lists([sample.weights for sample in samples], np.float32),
        "dataset": [sample.origin.dataset for sample in samples],
        "row": [sample.origin.row for sample in samples],
        "place": [sample.origin.place for sample in samples],
        "length": [len(sample.input_ids) for sample in samples],
        "trained": [int(np.count_nonzero(sample.labels != IGNORE_INDEX)) for sample in samples],
        "whole": [row.whole for row in rows],
        "piece": [row.piece for row in rows],
        "digest": [row.digest for row in rows],
        "text": [row.text for row in rows],
        "minima": [row.minima for row in rows],
        "before": [sample.pictured and sample.pictured.before.text for sample in samples],
        "pictures": [sample.pictured and [asdict(each) for each in sample.pictured.pictures] for sample in samples],
    }
    arrays = [
        columns[each.name] if isinstance(columns[each.name], pa.Array) else pa.array(columns[each.name], each.type)
        for each in SCHEMA
    ]
    return pa.record_batch(arrays, schema=SCHEMA)


def _lists(arrays: Sequence[NDArray[Any] | None], kind: type[np.generic]) -> Any:
    """One list for each array, null for None; `pa.array` would go through the numbers one by one."""
    missing = np.array([each is None for each in arrays])
    lengths = [0 if each is None else len(each) for each in arrays]
    offsets: Any = pa.array(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]))
    values: Any = pa.array(np.concatenate([np.empty(0, kind), *(each for each in arrays if each is not None)]))
    return pa.LargeListArray.from_arrays(offsets, values, mask=pa.array(missing) if missing.any() else None)


def read_shard_info(folder: Path, number: int) -> ShardInfo | None:
    """What is known of a finished shard; None when there is none."""
    file = folder / shard_name(number)
    try:
        found = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        return ShardInfo(number, found["samples"], found["sha256"], found["account"]) if file.is_file() else None
    except (OSError, ValueError, KeyError):
        return None


def file_digest(file: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def open_shard(file: Path) -> Any:
    """The Arrow table of a shard, read through a memory map; raises DataError."""
    return _opened(file, lambda: pa.ipc.open_file(pa.memory_map(str(file))).read_all())


def _columns(file: Path, names: Sequence[str]) -> Any:
    """Some columns of a shard in memory. Through a memory map the tokens between them would be read too."""
    options = pa.ipc.IpcReadOptions(included_fields=[SCHEMA.get_field_index(name) for name in names])
    return _opened(file, lambda: pa.ipc.open_file(pa.OSFile(str(file), "rb"), options=options).read_all())


def _opened(file: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (pa.ArrowInvalid, OSError) as error:
        fix = "delete its folder: the data is prepared again"
        raise DataError(f"prepared data is damaged: {error}", where=str(file), fix=fix) from None


def read_numbers(files: Sequence[Path]) -> dict[str, NDArray[np.int64]]:
    """`row`, `length`, `trained`, `whole` and `piece` of all samples of some shards, int64 `[n]` each."""
    found: dict[str, list[NDArray[np.int64]]] = {name: [np.empty(0, np.int64)] for name in _NUMBERS}
    for file in files:
        table = _columns(file, _NUMBERS)
        for name in _NUMBERS:
            found[name].append(table[name].to_numpy().astype(np.int64))
    return {name: np.concatenate(each) for name, each in found.items()}


def read_digests(files: Sequence[Path], name: str) -> NDArray[np.uint64]:
    """`digest` or `text` of all samples of some shards: uint64 `[n, 2]`."""
    chunks = [chunk for file in files for chunk in _columns(file, [name])[name].chunks]
    found = [np.frombuffer(chunk.buffers()[1], dtype=np.uint64)[: 2 * len(chunk)] for chunk in chunks]
    return np.concatenate([np.empty(0, np.uint64), *found]).reshape(-1, 2)
