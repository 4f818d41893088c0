"""The folders of checkpoints: their names, and moves that a kill at any moment cannot spoil.

What is not a finished checkpoint has a name that begins with a dot, so that nobody takes it for one:

    checkpoint-8               complete, always: it got this name when all of it was on the disk
    .unfinished-checkpoint-8   is being written
    .replaced-checkpoint-8     was checkpoint-8 before the one that is about to take its place
    .removed-checkpoint-2      is being deleted
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from sft_train.checkpoint.manifest import MANIFEST, differences, files_of

_NUMBERED = re.compile(r"checkpoint-(\d+)")
_UNFINISHED, _REPLACED, _REMOVED = ".unfinished-", ".replaced-", ".removed-"


def folders_in(output_dir: Path) -> list[Path]:
    """Folders named checkpoint-N, the highest N first."""
    if not output_dir.is_dir():
        return []
    numbered = [
        (int(match[1]), path)
        for path in output_dir.iterdir()
        if (match := _NUMBERED.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(numbered, reverse=True)]


def replaced_in(output_dir: Path) -> list[Path]:
    """Folders that a killed run had put aside; see `clear_leftovers`."""
    return sorted(output_dir.glob(f"{_REPLACED}*"))


def unfinished(folder: Path) -> Path:
    """Where the content of `folder` is written until it is whole."""
    return folder.with_name(f"{_UNFINISHED}{folder.name}")


def make_anew(folder: Path) -> None:
    """Makes an empty folder, also where a killed run has left one of that name."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def put_in_place(written: Path, folder: Path) -> None:
    """Gives a whole folder its name. What had that name before goes away after the new one is there."""
    before = folder.with_name(f"{_REPLACED}{folder.name}")
    if folder.exists():
        folder.rename(before)
    written.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(before, ignore_errors=True)


def move_into(written: Path, folder: Path) -> None:
    """Moves the files of a whole folder into one that holds other things too; the manifest comes last.

    Files that the manifest there named and the new one does not are deleted: transformers would take the
    config.json of a model that was here before for part of the adapter that is here now.
    """
    before = files_of(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    new = [path.relative_to(written) for path in sorted(written.rglob("*")) if path.is_file()]
    for name in before.keys() - {path.as_posix() for path in new}:
        (folder / name).unlink(missing_ok=True)
    for path in sorted(new, key=lambda each: each.name == MANIFEST):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (written / path).replace(folder / path)
    sync_folder(folder)
    shutil.rmtree(written)


def keep_newest(output_dir: Path, limit: int, newest: Path, best: Path | None) -> None:
    """Deletes the checkpoints before the `limit` newest, but not the best one.

    Args:
        output_dir: of the run.
        limit: how many are kept, at least 1.
        newest: the one just written. Folders of later steps are left of a run before; they neither count nor go.
        best: kept besides them.
    """
    whole = [each for each in folders_in(output_dir) if not differences(each, contents=False)]
    for folder in whole[whole.index(newest) + limit :]:
        if best is None or folder.name != best.name:
            removed = folder.with_name(f"{_REMOVED}{folder.name}")
            folder.rename(removed)
            shutil.rmtree(removed, ignore_errors=True)


def clear_leftovers(output_dir: Path, say: Callable[[str], None]) -> None:
    """Deletes what a killed run was writing or deleting, and brings back what it was about to replace.

    Args:
        output_dir: of the run; no other process may be writing there.
        say: is told what was found.
    """
    for folder in replaced_in(output_dir):
        place = folder.with_name(folder.name.removeprefix(_REPLACED))
        if not place.exists():
            folder.rename(place)
            say(f"{place.name} is back: the run was killed while it put another in its place")
    for folder in sorted(path for kind in (_UNFINISHED, _REPLACED, _REMOVED) for path in output_dir.glob(f"{kind}*")):
        shutil.rmtree(folder)
        say(f"removed {folder.name}, which a killed run has left")


def sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk (fsync(2)), where the file system knows how to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync files alone
            raise
    finally:
        os.close(descriptor)
