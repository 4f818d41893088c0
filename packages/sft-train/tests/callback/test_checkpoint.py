from __future__ import annotations

from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from sft_train.callback.checkpoint import CheckpointRecord


@pytest.mark.parametrize(("step", "saved"), [(4, False), (5, True)])
def test_checkpoint_that_the_run_began_with_is_not_written_again(tmp_path: Path, step: int, saved: bool) -> None:
    record = CheckpointRecord({}, 1, resumed_step=4)
    control = TrainerControl(should_save=True)
    record.on_step_end(TrainingArguments(str(tmp_path)), TrainerState(global_step=step), control)
    assert control.should_save is saved
    control.should_save = True
    record.on_epoch_end(TrainingArguments(str(tmp_path)), TrainerState(global_step=step), control)
    assert control.should_save is saved
