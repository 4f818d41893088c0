"""The identity of what a data set holds, so that prepared data are never stale."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sft_data.optional import hub_commit
from sft_data.source.file_kind import endings
from sft_data.source.found import DamagedFileError
from sft_data.source.hub import hub_dataset, saved_dataset
from sft_data.source.locate import SavedFolder, locate
from sft_data.source.opening import SourceFile, one_line, opened, read_errors
from sft_schema import DataError
from sft_schema.config import SourceConfig

_REMOTE_SUMS = ("ETag", "etag", "md5Hash", "crc32c")
"""What stores say of an object that changes with its content, the first that there is."""


def fingerprint_source(cfg: SourceConfig) -> str:
    """Hash of the data itself, wherever it is.

    Local files and files of the datasets library are read; S3 and GCS say a sum of their own, and an HTTP
    server an ETag. What says nothing is read too. A data set that is streamed from the hub has its commit.

    Raises:
        DataError: there is no such file or data set, or it cannot be read.
    """
    source = locate(cfg)
    digest = hashlib.sha256()
    if source is None and cfg.streaming:
        return f"commit:{hub_commit(cfg.path, cfg.revision)}"
    if source is None:
        return f"hub:{_cached(hub_dataset(cfg), digest)}"
    if isinstance(source, SavedFolder):
        for name, split in sorted(saved_dataset(source, cfg).items()):
            digest.update(name.encode())
            _cached(split, digest)
        return f"saved:{digest.hexdigest()}"
    for file in source:
        digest.update(f"{file.kind}{''.join(endings(file.address))}".encode())
        digest.update(_file_sum(file))
    return f"files:{digest.hexdigest()}"


def _file_sum(file: SourceFile) -> bytes:
    if file.filesystem is not None and (said := _said(file)):
        return hashlib.sha256(said.encode()).digest()
    try:
        with opened(file) as handle:
            return hashlib.file_digest(handle, "sha256").digest()  # pyright: ignore[reportArgumentType]
    except (DamagedFileError, *read_errors()) as error:
        raise DataError(f"cannot be read: {one_line(error)}", where=file.address, fix="try again") from None


def _said(file: SourceFile) -> str:
    try:
        info: dict[str, Any] = file.filesystem.info(file.path)  # type: ignore[union-attr]
    except read_errors() as error:
        raise DataError(f"cannot be read: {one_line(error)}", where=file.address, fix="check the address") from None
    found = next((f"{name}={info[name]}" for name in _REMOTE_SUMS if info.get(name)), "")
    weak = found.partition("=")[2].startswith("W/")  # a weak ETag may stay when bytes change
    return f"{found} {info.get('size')}" if found and not weak else ""


def _cached(data: Any, digest: Any) -> str:
    """Adds the files of a `datasets.Dataset` and its choice of rows to the digest."""
    for each in data.cache_files:
        with Path(each["filename"]).open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    if data._indices is not None:
        digest.update(data._indices.column(0).to_numpy().tobytes())
    return digest.hexdigest()
