"""Data sets that the datasets library loads: of the hub, or saved by `save_to_disk`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from sft_data.optional import load_hub_dataset, load_saved_dataset, remote_reading
from sft_data.source.arrow_file import without_filled
from sft_data.source.found import Rows
from sft_data.source.locate import SavedFolder
from sft_data.source.split import parse_split
from sft_data.source.undecoded import undecoded
from sft_schema import DataError
from sft_schema.config import SourceConfig


def hub_dataset(cfg: SourceConfig) -> Any:
    """The `datasets.Dataset` of a hub id, downloaded once and memory-mapped; raises DataError."""
    return load_hub_dataset(cfg.path, split=cfg.split, **_arguments(cfg))


def _arguments(cfg: SourceConfig) -> dict[str, Any]:
    files = cfg.data_files
    return {
        "name": cfg.name,
        "data_dir": cfg.data_dir,
        "data_files": files if files is None or isinstance(files, str) else list(files),
        "revision": cfg.revision,
    }


def saved_dataset(folder: SavedFolder, cfg: SourceConfig) -> dict[str, Any]:
    """The splits that a saved folder has, by name; a single one is `train`, unless it says its own name."""
    saved: Any = load_saved_dataset(folder.address, folder.filesystem)
    if isinstance(saved, dict):
        return dict(saved)  # pyright: ignore[reportUnknownArgumentType]
    return {"train": saved, str(saved.split or "train"): saved}


def hub_rows(cfg: SourceConfig) -> Rows:
    """Every row with its number in the split."""
    if cfg.streaming:
        yield from _streamed_rows(cfg)
        return
    for index, values in enumerate(undecoded(hub_dataset(cfg))):
        yield f"{cfg.path} {cfg.split} row {index}", without_filled(dict(values))


def _streamed_rows(cfg: SourceConfig) -> Rows:
    for part in parse_split(cfg.split, f"data set {cfg.path!r}"):
        data = load_hub_dataset(cfg.path, split=part.name, streaming=True, **_arguments(cfg))
        with remote_reading(cfg.path):
            for index, values in part.of(partial(_numbered, undecoded(data))):
                yield f"{cfg.path} {part.name} row {index}", without_filled(dict(values))


def saved_rows(folder: SavedFolder, cfg: SourceConfig) -> Rows:
    """Every row with its number in its split; raises DataError when there is no such split."""
    splits = saved_dataset(folder, cfg)
    for part in parse_split(cfg.split, f"data set {cfg.path!r}"):
        if part.name not in splits:
            fix = f"write one of {', '.join(sorted(splits))}"
            raise DataError(f"it has no split {part.name!r}", where=f"data set {cfg.path!r}", fix=fix)
        for index, values in part.of(partial(_numbered, undecoded(splits[part.name]))):
            yield f"{folder.address} {part.name} row {index}", without_filled(dict(values))


def _numbered(data: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    return enumerate(data)
