from __future__ import annotations

from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from sft_train.callback.checkpoint import CheckpointRecord


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    (folder / "trainer_state.json").write_text("{}")
    return folder


def end_step(folder: Path, record: CheckpointRecord, step: int, *, save: bool) -> TrainerControl:
    control = TrainerControl(should_save=save)
    record.on_step_end(TrainingArguments(str(folder.parent)), TrainerState(global_step=step), control)
    return control


def test_folder_of_a_killed_run_is_incomplete_until_written_anew(folder: Path) -> None:
    record = CheckpointRecord({}, 1)
    end_step(folder, record, 4, save=False)
    assert (folder / "trainer_state.json").exists()
    assert end_step(folder, record, 4, save=True).should_save
    assert not (folder / "trainer_state.json").exists()


def test_checkpoint_that_the_run_began_with_is_not_written_again(folder: Path) -> None:
    assert not end_step(folder, CheckpointRecord({}, 1, resumed_step=4), 4, save=True).should_save
    assert (folder / "trainer_state.json").exists()
