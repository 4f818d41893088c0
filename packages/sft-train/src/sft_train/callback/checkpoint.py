"""What is added to the Trainer's checkpoints."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState


class CheckpointRecord(TrainerCallback, ExportableState):
    """Keeps with each checkpoint what a run must share with it to go on from it.

    The Trainer writes `state()` into trainer_state.json, and `sft_train.checkpoint` reads it back.

    Args:
        identity: see `sft_train.checkpoint.run_identity`.
        processes: processes that train together; each saves a random state of its own.
        resumed_step: step of the checkpoint that the run goes on from, or None.
        model_only: no run can go on from these checkpoints.
    """

    def __init__(
        self, identity: dict[str, Any], processes: int, resumed_step: int | None = None, *, model_only: bool = False
    ) -> None:
        self.identity, self.processes, self.resumed_step = identity, processes, resumed_step
        self.model_only = model_only

    def state(self) -> dict[str, Any]:
        """The record as the Trainer stores it."""
        args = {"identity": self.identity, "processes": self.processes, "model_only": self.model_only}
        return {"args": args, "attributes": {}}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The checkpoint that the run began with is not written again."""
        if state.global_step == self.resumed_step:
            control.should_save = False

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See `on_step_end`."""
        self.on_step_end(args, state, control)
