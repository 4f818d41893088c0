"""Rows of a local file, a folder of files, or a hub data set, in a fixed order.

A local path is a file (.jsonl, .json, .parquet), a folder of such files, or a glob. What is no local path is a
data set for the `datasets` library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from glob import glob, has_magic
from itertools import count
from pathlib import Path

from sft_data.optional import load_hub_dataset
from sft_data.row import BadRow, Row
from sft_data.source.json_file import read_json
from sft_data.source.parquet_file import read_parquet
from sft_schema import DataError
from sft_schema.config import DatasetConfig
from sft_schema.record import RowOrigin

KINDS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


def read_rows(cfg: DatasetConfig) -> Iterator[Row | BadRow]:
    """Every row of a data set: usable rows and, in their place, rows that cannot be read.

    Raises:
        DataError: there is no such file or data set, or a file as a whole cannot be read.
    """
    files = _files(cfg)
    numbers = count()
    if files is None:
        yield from _hub_rows(cfg)
    for file in files or ():
        kind = cfg.ds_type or KINDS.get(file.suffix)
        if kind is None:
            fix = f"set `ds_type` to json or parquet, or use one of {', '.join(KINDS)}"
            raise DataError(f"the ending {file.suffix!r} does not say what it holds", where=str(file), fix=fix)
        reader = read_json if kind == "json" else read_parquet
        for place, found in reader(file):
            origin = RowOrigin(cfg.path, next(numbers), place)
            if isinstance(found, dict):
                yield Row(found, origin)
            else:
                yield BadRow(origin, *found)


def fingerprint_source(cfg: DatasetConfig) -> str:
    """Hash of the data itself: bytes of local files, or the identity that `datasets` gives a hub data set."""
    files = _files(cfg)
    if files is None:
        data = load_hub_dataset(cfg.path, cfg.name, cfg.split, cfg.revision)
        return f"hub:{data._fingerprint}"
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return f"files:{digest.hexdigest()}"


def _files(cfg: DatasetConfig) -> list[Path] | None:
    """The local files of a data set, sorted; None when it is a hub id."""
    path = Path(cfg.path)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix in KINDS)
        return found or _refuse_missing(cfg, f"no {', '.join(KINDS)} file in it")
    if has_magic(cfg.path):
        return [Path(each) for each in sorted(glob(cfg.path))] or _refuse_missing(cfg, "no file matches it")
    if path.suffix in KINDS or path.is_absolute() or cfg.path.startswith(("./", "../")) or cfg.ds_type:
        return _refuse_missing(cfg, "there is no such file")
    return None


def _refuse_missing(cfg: DatasetConfig, problem: str) -> list[Path]:
    fix = f"correct the path; relative paths start at {Path.cwd().name!r}, the current folder"
    raise DataError(problem, where=f"data set {cfg.path!r}", fix=fix)


def _hub_rows(cfg: DatasetConfig) -> Iterator[Row]:
    data = load_hub_dataset(cfg.path, cfg.name, cfg.split, cfg.revision)
    for index, values in enumerate(data):
        yield Row(dict(values), RowOrigin(cfg.path, index, f"{cfg.path} {cfg.split} row {index}"))
