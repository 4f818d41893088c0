"""What is added to the Trainer's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from sft_train.checkpoint.find import STATE
from sft_train.checkpoint.modes import make_readable


class CheckpointRecord(TrainerCallback, ExportableState):
    """Keeps with each checkpoint what a run must share with it to go on from it.

    The Trainer writes `state()` into trainer_state.json, the last file of a checkpoint: there is no moment at
    which a checkpoint exists without its record. `sft_train.checkpoint` reads it back.

    Args:
        identity: see `sft_train.checkpoint.run_identity`.
        processes: processes that train together; each saves a random state of its own.
        resumed_step: step of the checkpoint that the run goes on from, or None.
    """

    def __init__(self, identity: dict[str, Any], processes: int, resumed_step: int | None = None) -> None:
        self.identity, self.processes, self.resumed_step = identity, processes, resumed_step

    def state(self) -> dict[str, Any]:
        """The record as the Trainer stores it."""
        return {"args": {"identity": self.identity, "processes": self.processes}, "attributes": {}}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """See `_before_save`."""
        self._before_save(args, state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See `_before_save`."""
        self._before_save(args, state, control)

    def _before_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        """Makes a folder of the same name incomplete until it is written anew.

        Such a folder is left of a killed run. A second kill, half-way through writing it, would leave new
        weights beside an old optimizer under an old record that says they belong together.
        """
        if state.global_step == self.resumed_step:
            control.should_save = False  # it is what the run began with
        if control.should_save and state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE).unlink(missing_ok=True)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Lets others read the checkpoint, as far as the umask does."""
        if state.is_world_process_zero:
            make_readable(Path(args.output_dir) / f"checkpoint-{state.global_step}")
