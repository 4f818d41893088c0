"""The folder of a preparation: train.arrow, eval.arrow, quarantine.jsonl, manifest.json."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from sft_data.row import BadRow
from sft_data.store.pictured import pictured_file, write_pictured
from sft_data.store.samples import write_samples
from sft_schema import DataError
from sft_schema.record import Manifest, TokenizedSample


def write_prepared(
    folder: Path, manifest: Manifest, splits: Mapping[str, Sequence[TokenizedSample]], bad: Sequence[BadRow]
) -> None:
    """Writes a preparation so that `folder` appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, samples in splits.items():
            write_samples(unfinished / f"{name}.arrow", samples)
            if samples and samples[0].pictured is not None:
                write_pictured(pictured_file(unfinished, name), samples)
        with (unfinished / "quarantine.jsonl").open("w", encoding="utf-8") as lines:
            for row in bad:
                lines.write(json.dumps(_quarantined(row), ensure_ascii=True) + "\n")
        (unfinished / "manifest.json").write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
        unfinished.chmod(0o755)  # mkdtemp's 0700 would lock other users of a shared folder out
        unfinished.rename(folder)
    except OSError:
        if not (folder / "manifest.json").is_file():  # else another process finished the same work first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _quarantined(row: BadRow) -> dict[str, str | int]:
    origin = row.origin
    return {
        "dataset": origin.dataset,
        "row": origin.row,
        "place": origin.place,
        "reason": row.reason,
        "detail": row.detail,
    }


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
