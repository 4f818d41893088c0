"""Which files of a folder belong to a split, when their names say it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sft_data.source.split import parse_split
from sft_schema import DataError
from sft_schema.config import SourceConfig

_WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The words that the datasets library looks for, whole words between `-`, `_`, `.`, spaces and `/`."""


def files_of_split(paths: list[str], root: str, cfg: SourceConfig) -> list[str]:
    """The files of the one split that `cfg.split` names; all files are `train` when no name says a split.

    Raises:
        DataError: no file belongs to it, or `split` joins several.
    """
    by_split: dict[str, list[str]] = {}
    for path in paths:
        by_split.setdefault(_split_of(path.removeprefix(root)) or "", []).append(path)
    if set(by_split) == {""}:
        by_split = {"train": paths}
    wanted = {part.name for part in parse_split(cfg.split, f"data set {cfg.path!r}")}
    aliases = {word: name for name, words in _WORDS.items() for word in words}
    found = [by_split.get(aliases.get(name, name)) for name in sorted(wanted)]
    if len(found) == 1 and found[0]:
        return found[0]
    have = ", ".join(sorted(name or "files that name no split" for name in by_split))
    raise DataError(
        f"split {cfg.split!r} is not one of its files' splits: {have}",
        where=f"data set {cfg.path!r}",
        fix="write one of them, or name the files in `data_files`",
    )


def _split_of(path: str) -> str | None:
    words = re.split(r"[-_./ ]+", path.lower())
    return next((name for name, known in _WORDS.items() if any(word in known for word in words)), None)
