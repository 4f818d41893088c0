"""What is added to the Trainer's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from sft_train.checkpoint.modes import make_readable


class CheckpointRecord(TrainerCallback, ExportableState):
    """Keeps with each checkpoint what a run must share with it to go on from it.

    The Trainer writes `state()` into trainer_state.json, the last file of a checkpoint: there is no moment at
    which a checkpoint exists without its record. `sft_train.checkpoint` reads it back.

    Args:
        identity: see `sft_train.checkpoint.run_identity`.
        processes: processes that train together; each saves a random state of its own.
    """

    def __init__(self, identity: dict[str, Any], processes: int) -> None:
        self.identity, self.processes = identity, processes

    def state(self) -> dict[str, Any]:
        """The record as the Trainer stores it."""
        return {"args": {"identity": self.identity, "processes": self.processes}, "attributes": {}}

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Lets others read the checkpoint, as far as the umask does."""
        if state.is_world_process_zero:
            make_readable(Path(args.output_dir) / f"checkpoint-{state.global_step}")
