"""Moves of whole folders, and what a kill between any two of them leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sft_schema import TrainingError
from sft_train.checkpoint import (
    clear_leftovers,
    keep_newest,
    move_into,
    put_in_place,
    written_whole,
)
from sft_train.checkpoint.folders import folders_in
from sft_train.checkpoint.manifest import differences, write_manifest


def whole(folder: Path, **files: str) -> Path:
    """A folder with files and a manifest; without any, one file that has the folder's name in it."""
    folder.mkdir(parents=True)
    for name, text in (files or {"weights": folder.name}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    write_manifest(folder)
    return folder


class Killed(BaseException):
    """The process ends here."""


def kill_at_rename(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The next but `number` rename does not happen, nor anything after it."""
    rename, left = Path.rename, [number]

    def renaming(self: Path, target: Path) -> Path:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", renaming)


@pytest.mark.parametrize("number", [0, 1])
def test_a_kill_while_a_checkpoint_is_replaced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Before the first rename it has its name; between the two it is brought back by the next start."""
    whole(tmp_path / "checkpoint-4", weights="old")
    written = whole(tmp_path / ".unfinished-checkpoint-4", weights="new")
    with monkeypatch.context() as patch:
        kill_at_rename(patch, number)
        with pytest.raises(Killed):
            put_in_place(written, tmp_path / "checkpoint-4")
    said: list[str] = []
    clear_leftovers(tmp_path, said.append)
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint-4"]
    assert (tmp_path / "checkpoint-4" / "weights").read_text() == "old"
    assert said[-1] == "removed .unfinished-checkpoint-4, which a killed run has left"
    assert any("checkpoint-4 is back" in text for text in said) == (number == 1)


def test_a_kill_after_a_checkpoint_was_replaced_leaves_the_new_one(tmp_path: Path) -> None:
    whole(tmp_path / "checkpoint-4", weights="new")
    whole(tmp_path / ".replaced-checkpoint-4", weights="old")
    clear_leftovers(tmp_path, print)
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint-4"]
    assert (tmp_path / "checkpoint-4" / "weights").read_text() == "new"


def test_clearing_leaves_all_else_alone_and_needs_no_folder(tmp_path: Path) -> None:
    whole(tmp_path / ".removed-checkpoint-2")
    for name in (".hidden", "runs", "checkpoint-2"):
        (tmp_path / name).mkdir()
    (tmp_path / "metrics.jsonl").touch()
    clear_leftovers(tmp_path, print)
    clear_leftovers(tmp_path / "nowhere", print)
    assert {each.name for each in tmp_path.iterdir()} == {".hidden", "runs", "checkpoint-2", "metrics.jsonl"}


@pytest.mark.parametrize(
    ("limit", "best", "left"),
    [
        (1, None, {8, 12}),
        (2, None, {6, 8, 12}),
        (1, 4, {4, 8, 12}),  # the best is kept besides the newest
        (2, 6, {6, 8, 12}),
        (9, 4, {2, 4, 6, 8, 12}),
    ],
)
def test_the_newest_and_the_best_are_kept(tmp_path: Path, limit: int, best: int | None, left: set[int]) -> None:
    """Step 12 is left of an earlier attempt, which was resumed from before; the run is at step 8 now."""
    for step in (2, 4, 6, 8, 12):
        whole(tmp_path / f"checkpoint-{step}")
    keep_newest(tmp_path, limit, tmp_path / "checkpoint-8", None if best is None else tmp_path / f"checkpoint-{best}")
    assert {each.name for each in tmp_path.iterdir()} == {f"checkpoint-{step}" for step in left}


def test_damaged_folders_do_not_count_as_kept(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        whole(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-4" / "weights").unlink()
    keep_newest(tmp_path, 2, tmp_path / "checkpoint-6", None)
    assert [each.name for each in folders_in(tmp_path)] == ["checkpoint-6", "checkpoint-4", "checkpoint-2"]


def test_a_result_takes_the_place_of_another_and_of_nothing_else(tmp_path: Path) -> None:
    move_into(whole(tmp_path / ".unfinished-model", **{"config.json": "a", "model-1": "b", "inner/x": "c"}), tmp_path)
    (tmp_path / "metrics.jsonl").write_text("kept")
    assert differences(tmp_path) == []
    move_into(whole(tmp_path / ".unfinished-model", **{"adapter": "d", "inner/x": "e"}), tmp_path)
    files = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    del files["manifest.json"]
    assert files == {"metrics.jsonl": "kept", "adapter": "d", "inner/x": "e"}
    assert differences(tmp_path) == []


def test_everything_is_on_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of the system is written down on the way, and done all the same."""
    seen: list[str] = []
    sync, rename = os.fsync, Path.rename

    def syncing(descriptor: int) -> None:
        seen.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path).as_posix())
        sync(descriptor)

    def renaming(self: Path, target: Path) -> Path:
        seen.append(f"rename to {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "rename", renaming)
    with written_whole(tmp_path / "checkpoint-1", put_in_place) as place:
        (place / "inner").mkdir()
        (place / "inner" / "a").touch()
        (place / "b").touch()
    here = ".unfinished-checkpoint-1"
    assert set(seen[:2]) == {f"{here}/b", f"{here}/inner/a"}
    assert seen[2:] == [f"{here}/manifest.json", f"{here}/inner", here, "rename to checkpoint-1", "."]


def write_half(folder: Path) -> None:
    with written_whole(folder, put_in_place) as place:
        (place / "half").touch()
        raise OSError("no luck")


def test_a_failure_leaves_neither_the_folder_nor_a_part_of_it(tmp_path: Path) -> None:
    whole(tmp_path / "checkpoint-1")
    wanted = r"checkpoint-2 could not be written to .*: no luck\. [\d,.]+ MiB are free there; checkpoint-1 is untouched"
    with pytest.raises(TrainingError, match=wanted):
        write_half(tmp_path / "checkpoint-2")
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint-1"]
