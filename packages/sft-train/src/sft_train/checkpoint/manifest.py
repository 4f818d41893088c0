"""manifest.json: size and SHA-256 of every file of a checkpoint, by which a damaged one is known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sft_schema.record import CheckpointManifest, StoredFile

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Puts all files of a folder on the disk (fsync(2)) and writes down what they are.

    Raises:
        OSError: the disk is full or fails.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    with ThreadPoolExecutor() as pool:
        entries = [*pool.map(_settled, paths)]
    files = {path.relative_to(folder).as_posix(): entry for path, entry in zip(paths, entries, strict=True)}
    manifest = folder / MANIFEST
    manifest.write_text(CheckpointManifest(files=files).model_dump_json(indent=2) + "\n", encoding="utf-8")
    _settled(manifest)


def _settled(path: Path) -> StoredFile:
    entry = _entry(path)
    with path.open("rb") as written:
        os.fsync(written.fileno())
    return entry


def _entry(path: Path) -> StoredFile:
    with path.open("rb") as content:
        return StoredFile(sha256=hashlib.file_digest(content, "sha256").hexdigest(), bytes=content.tell())


def files_of(folder: Path) -> dict[str, StoredFile]:
    """What the manifest of a folder lists; nothing when there is no manifest or it cannot be read."""
    try:
        return CheckpointManifest.model_validate_json((folder / MANIFEST).read_bytes()).files
    except (OSError, ValueError):
        return {}


def differences(folder: Path, *, contents: bool = True) -> list[str]:
    """How a folder differs from its manifest; empty when it does not. Files that are not listed do not matter.

    Args:
        folder: of a checkpoint.
        contents: also read the files and compare their SHA-256; else existence and size alone.
    """
    if not (folder / MANIFEST).is_file():
        return [f"{MANIFEST} is missing"]
    listed = files_of(folder)
    if not listed:
        return [f"{MANIFEST} cannot be read"]
    found = [*_differing_sizes(folder, listed)]
    if found or not contents:
        return found
    with ThreadPoolExecutor() as pool:
        entries = pool.map(_entry, [folder / name for name in listed])
        same = [entry.sha256 == wanted.sha256 for entry, wanted in zip(entries, listed.values(), strict=True)]
    return [f"{name} has other content than was written" for name, equal in zip(listed, same, strict=True) if not equal]


def _differing_sizes(folder: Path, listed: dict[str, StoredFile]) -> Iterator[str]:
    for name, wanted in listed.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif (size := path.stat().st_size) != wanted.bytes:
            yield f"{name} has {size} bytes and should have {wanted.bytes}"
