# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the libraries used here ship no complete types)
"""Reads all of a preparation, and says what is not as its manifest says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sft_data.store import SampleStore, file_digest, open_shard, read_manifest
from sft_schema import IGNORE_INDEX, ContractError, DataError
from sft_schema.check import check_manifest
from sft_schema.record import Manifest


def verify_prepared(folder: Path) -> list[str]:
    """What is wrong with a preparation, one sentence each; nothing for one that is whole.

    Every file of samples must have its SHA-256 and hold labels that are the token itself or IGNORE_INDEX; each split
    must have the samples and tokens that the manifest counts.

    Args:
        folder: with the manifest in it.

    Raises:
        DataError: there is no manifest, or it cannot be read.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        fix = "give a folder of `dataset_prepared_path`; one whose name begins with a dot is not finished"
        raise DataError("there is no manifest.json", where=str(folder), fix=fix)
    return list(_problems(folder, manifest))


def _problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    try:
        check_manifest(manifest)
    except ContractError as error:
        yield f"manifest.json: {error}"
    damaged = False
    for name, digest in manifest.shards.items():
        problem = _shard_problem(folder / name, digest)
        if problem is not None:
            damaged = True
            yield f"{name}: {problem}"
    for split in manifest.splits if not damaged else ():
        yield from _split_problems(folder, split, manifest)


def _shard_problem(file: Path, digest: str) -> str | None:
    if not file.is_file():
        return "it is missing"
    if file_digest(file) != digest:
        return f"its SHA-256 is not {digest}: it was changed or damaged"
    table: Any = open_shard(file)
    for batch in table.to_batches():
        ids, labels = (batch.column(name).values.to_numpy() for name in ("input_ids", "labels"))
        if len(ids) != len(labels) or not ((labels == ids) | (labels == IGNORE_INDEX)).all():
            return "a label is neither its token nor -100"
    return None


def _split_problems(folder: Path, split: str, manifest: Manifest) -> Iterator[str]:
    counts = manifest.splits[split]
    try:
        store = SampleStore(folder / f"{split}.arrow")
        for index in {0, len(store) - 1} if len(store) else ():
            store[index]
    except (DataError, IndexError) as error:
        yield f"{split}.arrow: {error}"
        return
    found = (len(store), int(store.lengths.sum()), int(store.trained.sum()))
    wanted = (counts.rows_out + counts.repeated, counts.tokens, counts.trained_tokens)
    for what, has, should in zip(("samples", "tokens", "trained tokens"), found, wanted, strict=True):
        if has != should:
            yield f"{split}.arrow: {has} {what}, and the manifest counts {should}"
    if len(store) and not np.all(store.trained > 0):
        yield f"{split}.arrow: a sample trains nothing"
