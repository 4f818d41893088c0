"""Prepared data in remote stores: one machine prepares, the others take the finished files.

s3://bucket/prepared/8c1f...            last_run_prepared/8c1f...
shard-00000.arrow ...         ->        (a copy here, read through a memory map)
train.arrow, eval.arrow
quarantine.jsonl                        not in a data set of the hub
manifest.json                           the last one to be written: where it is, the others are whole
                                        .stores: the stores that are known to have it
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sft_data.optional import hub_client, open_filesystem, remote_errors
from sft_data.store.prepared_folder import read_manifest
from sft_schema import DataError
from sft_schema.config import DataSection

LOCAL = Path("last_run_prepared")
"""Where the copies of remote preparations are kept on this machine."""

_LAST = "manifest.json"
_KNOWN = ".stores"
_AT_HOME = ("quarantine.jsonl",)
"""Not uploaded to the hub: it names this machine's files and quotes the rows that were not meant to be used."""
_HUB = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?P<below>(?:/[\w.-]+)*)/?")
_FAILURES = (OSError, ValueError, RuntimeError)
"""What the hub's client raises besides errors of the connection: names it refuses, uploads that are refused."""


def local_folder(prepared_path: str) -> Path:
    """The folder of preparations on this machine, for a local or remote `dataset_prepared_path`."""
    return LOCAL if "://" in prepared_path else Path(prepared_path)


def stores_of(cfg: DataSection) -> tuple[str, ...]:
    """Addresses of a config's remote stores: a remote `dataset_prepared_path`, and `push_dataset_to_hub`.

    Raises:
        DataError: an address of the hub that is not one of a data set.
    """
    stores = [cfg.dataset_prepared_path] if "://" in cfg.dataset_prepared_path else []
    if cfg.push_dataset_to_hub is not None:
        stores.append(f"hf://datasets/{cfg.push_dataset_to_hub}")
    for store in stores:
        if store.startswith("hf://") and not _HUB.fullmatch(store):
            fix = "write hf://datasets/OWNER/NAME, with a folder after it if need be"
            raise DataError("not the address of a data set of the hub", where=f"dataset_prepared_path {store}", fix=fix)
    return tuple(dict.fromkeys(stores))


def lacking(stores: Sequence[str], folder: Path) -> list[str]:
    """The stores that are not known to have a preparation; known is what was copied from there or to there."""
    file = folder / _KNOWN
    known = file.read_text(encoding="utf-8").splitlines() if file.is_file() else ()
    return [store for store in stores if store not in known]


def fetch_prepared(stores: Sequence[str], folder: Path, problems_of: Callable[[Path], list[str]]) -> None:
    """Copies a finished preparation from the first store that has it, unless `folder` is there already.

    Args:
        stores: addresses such as `s3://bucket/prepared` or `hf://datasets/owner/name`.
        folder: local folder of this preparation; appears whole or not at all.
        problems_of: what is wrong with a copy, a sentence each.

    Raises:
        DataError: a store cannot be read, its library is missing, or what it has is damaged.
    """
    for store in stores:
        if (folder / _LAST).is_file():
            return
        filesystem, remote = _opened(store, folder)
        try:
            if _has(filesystem, remote):
                _fetch(filesystem, remote, folder, store, problems_of)
        except (*_FAILURES, *remote_errors()) as error:
            raise _unusable("read", store, error) from None


def _opened(store: str, folder: Path) -> tuple[Any, str]:
    """The file system of a store, and the path of a preparation in it."""
    filesystem, path = open_filesystem(store)
    filesystem.invalidate_cache()  # another machine may have written there since
    return filesystem, f"{path.rstrip('/')}/{folder.name}"


def _has(filesystem: Any, remote: str) -> bool:
    """`exists` of a file system would take a failed login or connection for an absent file."""
    try:
        filesystem.info(f"{remote}/{_LAST}")
    except FileNotFoundError:
        return False
    return True


def _fetch(filesystem: Any, remote: str, folder: Path, store: str, problems_of: Callable[[Path], list[str]]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for each in filesystem.ls(remote, detail=False):
            filesystem.get_file(each, str(unfinished / Path(str(each)).name))
        problems = _problems(unfinished, folder.name, problems_of)
        if problems:
            fix = "run again; if it stays so, delete that folder of the store, and the data are prepared anew"
            raise DataError(f"the copy is damaged: {'; '.join(problems[:3])}", where=f"{store}/{folder.name}", fix=fix)
        (unfinished / _KNOWN).write_text(f"{store}\n", encoding="utf-8")
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _problems(copy: Path, fingerprint: str, problems_of: Callable[[Path], list[str]]) -> list[str]:
    try:
        manifest = read_manifest(copy)
        if manifest is not None and manifest.fingerprint != fingerprint:
            return [f"{_LAST}: it is that of {manifest.fingerprint}"]
        return problems_of(copy)
    except DataError as error:
        return [f"{Path(error.where).name}: {error.message.splitlines()[0]}"]


def publish_prepared(folder: Path, store: str) -> None:
    """Copies a finished preparation to a store that does not have it, its manifest last.

    A data set of the hub is made if there is none, for its owner alone to see.

    Raises:
        DataError: the store cannot be written, or its library is missing.
    """
    filesystem, remote = _opened(store, folder)
    try:
        if not _has(filesystem, remote):
            _upload(folder, store, filesystem, remote)
    except (*_FAILURES, *remote_errors()) as error:
        raise _unusable("written", store, error) from None
    with (folder / _KNOWN).open("a", encoding="utf-8") as known:
        known.write(f"{store}\n")


def _upload(folder: Path, store: str, filesystem: Any, remote: str) -> None:
    hub = _HUB.fullmatch(store)
    if hub:
        _push(folder, hub["repo"], f"{hub['below']}/{folder.name}".lstrip("/"))
        return
    files = (file for file in folder.iterdir() if file.name != _KNOWN)
    for file in sorted(files, key=lambda file: (file.name == _LAST, file.name)):
        filesystem.put_file(str(file), f"{remote}/{file.name}")


def _push(folder: Path, repo: str, to: str) -> None:
    """Two commits at least: the client may make several of a large folder, in any order."""
    hub, where = hub_client(), {"repo_id": repo, "repo_type": "dataset"}
    hub.create_repo(**where, private=True, exist_ok=True)
    left_out = [_LAST, _KNOWN, *_AT_HOME]
    message = f"Prepared data {folder.name}"
    hub.upload_folder(**where, folder_path=folder, path_in_repo=to, ignore_patterns=left_out, commit_message=message)
    manifest = {"path_or_fileobj": folder / _LAST, "path_in_repo": f"{to}/{_LAST}"}
    hub.upload_file(**where, **manifest, commit_message=f"{message}: whole")


def _unusable(what: str, store: str, error: Exception) -> DataError:
    fix = "check the address, and that you are logged in and may use it; or give a local `dataset_prepared_path`"
    hub = _HUB.fullmatch(store)
    if hub:
        may = {"read": "read", "written": "write to"}[what]
        fix = (
            f"log in with `hf auth login`, or set HF_TOKEN, as one who may {may} {hub['repo']}, and run again (what is "
            "prepared is kept); or remove the setting that names it"
        )
    cause = (str(error).splitlines() or [""])[0] or type(error).__name__
    return DataError(f"prepared data cannot be {what}: {cause}", where=store, fix=fix)
