"""Where a data set's rows are: files here or in a remote store, a folder of `save_to_disk`, or the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, get_args

from sft_data.optional import open_filesystem
from sft_data.source.file_kind import COMPRESSED, KINDS, kind_of
from sft_data.source.opening import SourceFile, one_line, read_errors
from sft_data.source.split import parse_split
from sft_data.source.split_files import files_of_split
from sft_schema import DataError
from sft_schema.config import FileKind, SourceConfig

_NOT_ROWS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "requirements.txt"}
"""Files beside the data that have an ending of data; names with `readme` and `license` in them are left out too."""


@dataclass(frozen=True, slots=True)
class SavedFolder:
    """A folder that `save_to_disk` of the datasets library wrote."""

    address: str
    filesystem: Any | None


@dataclass(frozen=True, slots=True)
class Store:
    """The file system that `path` points into; local when `filesystem` is None."""

    filesystem: Any | None = None

    def is_file(self, path: str) -> bool:
        """Whether it is a file, following links."""
        if self.filesystem is None:
            return os.path.isfile(path)
        return self._answers(path) if path.startswith("http") else bool(self.filesystem.isfile(path))

    def is_folder(self, path: str) -> bool:
        """Whether it is a folder, following links; an HTTP server has none."""
        if self.filesystem is None:
            return os.path.isdir(path)
        return not path.startswith("http") and bool(self.filesystem.isdir(path))

    def _answers(self, address: str) -> bool:
        try:
            self.filesystem.info(address)  # type: ignore[union-attr]
        except FileNotFoundError:
            return False
        return True

    def glob(self, pattern: str) -> list[str]:
        """Matching paths, sorted."""
        return sorted(glob(pattern, recursive=True) if self.filesystem is None else self.filesystem.glob(pattern))

    def below(self, folder: str) -> list[str]:
        """All files below a folder, sorted; links to folders are not followed, so that loops end."""
        if self.filesystem is not None:
            return sorted(self.filesystem.find(folder))
        return sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)


def locate(cfg: SourceConfig) -> list[SourceFile] | SavedFolder | None:
    """The data set's files in order, or its saved folder; None when it is a data set of the hub.

    Raises:
        DataError: there is nothing at `path`, or it is not clear which files are meant.
    """
    store, root = _store(cfg)
    try:
        if _is_builder(cfg, store):
            return _files(cfg, _given(cfg, store, ""), store)
        if store.is_folder(root):
            return _in_folder(cfg, store, root)
        if has_magic(root) and not cfg.path.startswith("http"):
            found = [each for each in store.glob(root) if store.is_file(each)]
            return _files(cfg, found or _refuse(cfg, "no file matches it"), store)
        if store.is_file(root):
            return _files(cfg, _lone(cfg, root), store)
    except read_errors() as error:
        raise DataError(
            f"cannot be read: {one_line(error)}", where=_where(cfg), fix="check address and login"
        ) from None
    local = cfg.path.startswith(("./", "../", "/", "~")) or kind_of(cfg.path) or cfg.path.endswith(COMPRESSED)
    if store.filesystem is not None or local or (cfg.ds_type and not cfg.data_files) or has_magic(root):
        _refuse(cfg, "there is no such file")
    return None


def _store(cfg: SourceConfig) -> tuple[Store, str]:
    if "://" not in cfg.path:
        return Store(), os.path.expanduser(cfg.path)
    filesystem, root = open_filesystem(cfg.path)
    return Store(filesystem), root


def _is_builder(cfg: SourceConfig, store: Store) -> bool:
    """`path: json` with data_files: the datasets library's name of a kind instead of a folder."""
    return cfg.path in get_args(FileKind) and bool(cfg.data_files) and not os.path.exists(cfg.path)


def _lone(cfg: SourceConfig, root: str) -> list[str]:
    if cfg.data_files or cfg.data_dir:
        _refuse(cfg, "it is a file, and data_files and data_dir are inside a folder")
    return [root]


def _in_folder(cfg: SourceConfig, store: Store, root: str) -> list[SourceFile] | SavedFolder:
    root = root.rstrip("/") or "/"
    if cfg.data_dir:
        root = _inside(cfg, root, cfg.data_dir)
        if not store.is_folder(root):
            _refuse(cfg, f"there is no folder {cfg.data_dir!r} in it")
    if cfg.data_files:
        return _files(cfg, _given(cfg, store, root), store)
    if any(store.is_file(f"{root}/{name}") for name in ("dataset_dict.json", "state.json")):
        return SavedFolder(_address(cfg, root), store.filesystem)
    found = [each for each in store.below(root) if _may_hold_rows(each.removeprefix(root))]
    if not found:
        _refuse(cfg, f"no {', '.join(KINDS)} file in it")
    kinds = {kind_of(each) for each in found}
    kinds = {"jsonl" if each == "json" else each for each in kinds}
    wanted = {"json": "jsonl"}.get(cfg.ds_type or "", cfg.ds_type)
    if wanted in kinds:
        found = [
            each for each in found if kind_of(each) in (cfg.ds_type, wanted, "json" if wanted == "jsonl" else None)
        ]
    elif len(kinds) > 1:
        _refuse(cfg, f"it has files of several kinds: {', '.join(sorted(map(str, kinds)))}", "set `ds_type`")
    return [_file(cfg, path, store) for path in files_of_split(found, root, cfg)]


def _may_hold_rows(path: str) -> bool:
    parts = PurePosixPath(path).parts
    name = parts[-1].lower()
    hidden = any(part.startswith((".", "__")) for part in parts if part != "/")
    return (
        not hidden and name not in _NOT_ROWS and "readme" not in name and "license" not in name and bool(kind_of(name))
    )


def _given(cfg: SourceConfig, store: Store, root: str) -> list[str]:
    """The files of `data_files`, in the order given; a glob's matches are sorted."""
    patterns: Sequence[str] = (cfg.data_files,) if isinstance(cfg.data_files, str) else cfg.data_files or ()
    found: list[str] = []
    for pattern in patterns:
        path = _inside(cfg, root, pattern) if root else pattern
        matches = [path] if store.is_file(path) else [each for each in store.glob(path) if store.is_file(each)]
        found += matches or _refuse(cfg, f"no file {pattern!r} in it", "data_files are written relative to `path`")
    return list(dict.fromkeys(found))


def _inside(cfg: SourceConfig, root: str, name: str) -> str:
    """The path below the folder; a name that leads out of it is refused."""
    if name.startswith(("/", "~")) or "://" in name or ".." in PurePosixPath(name).parts:
        _refuse(cfg, f"{name!r} leads out of the folder", "write that folder into `path`")
    return f"{root.rstrip('/')}/{name}"


def _files(cfg: SourceConfig, paths: list[str], store: Store) -> list[SourceFile]:
    """Files that were named: they are one split, train."""
    for part in parse_split(cfg.split, _where(cfg)):
        if part.name != "train":
            fix = "write `split: train`, or a part of it such as `train[:10%]`"
            _refuse(cfg, f"files that are named have one split, train, and not {part.name!r}", fix)
    return [_file(cfg, path, store) for path in paths]


def _file(cfg: SourceConfig, path: str, store: Store) -> SourceFile:
    return SourceFile(_address(cfg, path), _kind(cfg, path), path, store.filesystem)


def _kind(cfg: SourceConfig, path: str) -> FileKind:
    named: FileKind | None = cfg.path if cfg.path in get_args(FileKind) and cfg.data_files else None  # pyright: ignore
    kind = cfg.ds_type or named or kind_of(path)
    if kind is None:
        fix = f"set `ds_type` to one of {', '.join(get_args(FileKind))}, or use one of {', '.join(KINDS)}"
        name = path.rpartition("/")[2]
        raise DataError(f"the ending of {name!r} does not say what it holds", where=_address(cfg, path), fix=fix)
    return kind


def _address(cfg: SourceConfig, path: str) -> str:
    if "://" not in cfg.path or "://" in path:
        return path
    return f"{cfg.path.partition('://')[0]}://{path}"


def _where(cfg: SourceConfig) -> str:
    return f"data set {cfg.path!r}"


def _refuse(cfg: SourceConfig, problem: str, fix: str = "") -> NoReturn:
    here = f"correct the path; relative paths start at {Path.cwd().name!r}, the current folder"
    raise DataError(problem, where=_where(cfg), fix=fix or here)
