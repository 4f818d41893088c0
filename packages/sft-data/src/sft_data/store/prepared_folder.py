"""The folder of a preparation: shards, the index of each split, quarantine.jsonl, manifest.json.

While it is made it has another name, `.FINGERPRINT`; a process that was killed left its finished shards there, and the
next one goes on after them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sft_schema import DataError
from sft_schema.record import Manifest


def work_folder(folder: Path) -> Path:
    """Where a preparation is made before it is whole."""
    unfinished = folder.parent / f".{folder.name}"
    unfinished.mkdir(parents=True, exist_ok=True)
    return unfinished


def write_quarantine(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes a line for each row that was set aside."""
    with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=True) + "\n")


def finish(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, and gives the preparation its name: it appears whole or not at all.

    Args:
        folder: the name.
        manifest: what was done.
    """
    unfinished = work_folder(folder)
    wanted = {*manifest.shards, *(f"{split}.arrow" for split in manifest.splits), "quarantine.jsonl"}
    for each in unfinished.iterdir():
        if each.name not in wanted:  # the accounts of the shards, and what a killed process left half-way
            each.unlink(missing_ok=True)
    (unfinished / "manifest.json").write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    unfinished.rename(folder)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished preparation, or None when there is none.

    Raises:
        DataError: the manifest is damaged.
    """
    file = folder / "manifest.json"
    if not file.is_file():
        return None
    try:
        return Manifest.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        fix = "delete its folder: the data is prepared again"
        raise DataError(f"damaged: {error}", where=str(file), fix=fix) from None
