# pyright: reportUnknownMemberType=false
"""How many rows there are, where that can be known without reading them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from sft_data.source.file_kind import endings
from sft_data.source.locate import SavedFolder, locate
from sft_data.source.opening import SourceFile
from sft_data.source.split import parse_split
from sft_schema import DataError
from sft_schema.config import SourceConfig

_AT_A_TIME = 1 << 24


def count_rows(cfg: SourceConfig) -> int | None:
    """Rows of local files of lines and of Parquet files, of a whole split; None for everything else."""
    try:
        source = locate(cfg)
        (part,) = parse_split(cfg.split, cfg.path)
    except (DataError, ValueError):
        return None
    if source is None or isinstance(source, SavedFolder) or part.start or part.stop or cfg.shards:
        return None
    counts = [_count(file) for file in source]
    return None if None in counts else sum(each or 0 for each in counts)


def _count(file: SourceFile) -> int | None:
    if file.filesystem is not None or endings(file.address)[1]:
        return None
    try:
        if file.kind == "parquet":
            return pq.ParquetFile(file.path).metadata.num_rows
        return _lines(file) if file.kind in ("jsonl", "text") else None
    except (OSError, pa.ArrowException):
        return None


def _lines(file: SourceFile) -> int:
    lines, last = 0, b"\n"
    with file.open_raw() as handle:
        while block := handle.read(_AT_A_TIME):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")
