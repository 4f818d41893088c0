"""Prepared data in a remote store: one machine prepares, the others take the finished files.

s3://bucket/prepared/8c1f...            last_run_prepared/8c1f...
train.arrow, eval.arrow       ->        (a copy here, read through a memory map)
quarantine.jsonl
manifest.json                 the last one to be written: where it is, the others are whole
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from sft_data.optional import open_filesystem, remote_errors
from sft_schema import DataError

LOCAL = Path("last_run_prepared")
"""Where the copies of remote preparations are kept on this machine."""

_LAST = "manifest.json"


def local_folder(prepared_path: str) -> Path:
    """The folder of preparations on this machine, for a local or remote `dataset_prepared_path`."""
    return LOCAL if "://" in prepared_path else Path(prepared_path)


def fetch_prepared(prepared_path: str, folder: Path) -> None:
    """Copies a finished preparation from a remote `dataset_prepared_path`, unless `folder` is there already.

    Args:
        prepared_path: local (nothing is done), or an address such as `s3://bucket/prepared`.
        folder: local folder of this preparation; appears whole or not at all.

    Raises:
        DataError: the store cannot be read, or its library is missing.
    """
    if "://" not in prepared_path or (folder / _LAST).is_file():
        return
    filesystem, path = open_filesystem(prepared_path)
    remote = f"{path.rstrip('/')}/{folder.name}"
    try:
        _fetch(filesystem, remote, folder)
    except (OSError, *remote_errors()) as error:
        raise _unusable("read", prepared_path, error) from None


def _fetch(filesystem: Any, remote: str, folder: Path) -> None:
    if not filesystem.exists(f"{remote}/{_LAST}"):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for each in filesystem.ls(remote, detail=False):
            filesystem.get_file(each, str(unfinished / Path(str(each)).name))
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def publish_prepared(folder: Path, prepared_path: str) -> None:
    """Copies a finished preparation to a remote `dataset_prepared_path`, its manifest last.

    Raises:
        DataError: the store cannot be written, or its library is missing.
    """
    if "://" not in prepared_path:
        return
    filesystem, path = open_filesystem(prepared_path)
    files = sorted(folder.iterdir(), key=lambda file: (file.name == _LAST, file.name))
    try:
        for file in files:
            filesystem.put_file(str(file), f"{path.rstrip('/')}/{folder.name}/{file.name}")
    except (OSError, *remote_errors()) as error:
        raise _unusable("written", prepared_path, error) from None


def _unusable(what: str, address: str, error: Exception) -> DataError:
    fix = "check the address, and that you are logged in and may use it; or give a local `dataset_prepared_path`"
    return DataError(f"prepared data cannot be {what}: {error or type(error).__name__}", where=address, fix=fix)
