"""Writing and deciding with several processes: all of them succeed, or all of them hear why not."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError

from sft_schema import SftError, TrainingError
from sft_train.checkpoint.folders import folders_in, make_anew, sync_folder, unfinished
from sft_train.checkpoint.manifest import write_manifest
from sft_train.checkpoint.modes import make_readable

Decision = TypeVar("Decision")

FAILURES = (OSError, RuntimeError, SafetensorError)
"""What writing raises on a full disk: Python, torch and safetensors each have an error of their own."""


@contextmanager
def written_whole(folder: Path, put: Callable[[Path, Path], None]) -> Iterator[Path]:
    """A folder to write into, which gets its place when all processes are done and all of it is on the disk.

    A context manager that every process enters. The first process makes the folder, gives its files the permissions
    of new files, writes the manifest, and calls `put`.

    Args:
        folder: where it is going to be.
        put: `put_in_place` or `move_into`.

    Raises:
        TrainingError: something could not be written, in any process; what was written of it is removed again.
    """
    with begun(folder) as place:
        yield place
    with all_hear(folder):
        if PartialState().is_main_process:
            settle(place, folder, put)


@contextmanager
def begun(folder: Path) -> Iterator[Path]:
    """The first half of `written_whole`: all processes write into the unfinished folder; `settle` is yet to come."""
    place = unfinished(folder)
    with all_hear(folder):
        if PartialState().is_main_process:
            make_anew(place)
    with all_hear(folder):
        yield place


def settle(place: Path, folder: Path, put: Callable[[Path, Path], None]) -> None:
    """The second half: all that was written is made readable, listed in the manifest, synced, and put in its place.

    Raises:
        OSError: something could not be written.
    """
    make_readable(place)
    write_manifest(place)
    for each in (*(path for path in place.rglob("*") if path.is_dir()), place):
        sync_folder(each)
    put(place, folder)


@contextmanager
def all_hear(folder: Path) -> Iterator[None]:
    """Waits for all processes, and raises in all when one of them could not write `folder`.

    Raises:
        TrainingError: in every process.
    """
    failure, place = None, unfinished(folder)
    try:
        yield
    except FAILURES as error:
        failure = error
    told: list[str] = [each for each in gather_object([failure and cause_of(failure)]) if each]
    if not told:
        return
    free = shutil.disk_usage(_existing(folder)).free  # before room is made
    if PartialState().is_main_process:
        shutil.rmtree(place, ignore_errors=True)
    raise not_written(folder, told[0], free) from failure


def cause_of(error: Exception) -> str:
    """What went wrong, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def not_written(folder: Path, cause: str, free: int) -> TrainingError:
    """The error of a folder that could not be written, with `free` bytes left there."""
    kept = folders_in(folder.parent)
    last = f"{kept[0].name} is untouched" if kept else "there is no checkpoint before it"
    written = f"{folder.name} could not be written to {folder.parent}"
    message = f"{written}: {cause}. {free / 2**20:,.1f} MiB are free there; {last}"
    go_on = "; then `resume_from_checkpoint: true` goes on from there" if kept else ""
    if os.strerror(errno.ENOSPC) in cause or "write failed" in cause or free < 2**20:
        fix = f"free disk space (one checkpoint more than `save_total_limit` must fit){go_on}"
    else:
        fix = f"see to it that files of this size can be written there{go_on}"
    return TrainingError(message, fix=fix)


def decided_by_first(decide: Callable[[], Decision]) -> Decision:
    """What the first process decides, in every process.

    Raises:
        SftError: that is what deciding raised.
    """
    outcome: list[Any] = [None]
    if PartialState().is_main_process:
        try:
            outcome = [decide()]
        except SftError as error:
            outcome = [error]
    (decided,) = broadcast_object_list(outcome)
    if isinstance(decided, SftError):
        raise decided
    return decided
