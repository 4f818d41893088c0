"""Checkpoints: writing them whole, finding complete ones, continuing from them; and the final model."""

from sft_train.checkpoint.find import STATE, Checkpoint, find_checkpoint, refuse_leftovers
from sft_train.checkpoint.folders import clear_leftovers, folders_in, keep_newest, move_into, put_in_place
from sft_train.checkpoint.identity import run_identity
from sft_train.checkpoint.save import write_model
from sft_train.checkpoint.together import decided_by_first, written_whole

__all__ = [
    "STATE",
    "Checkpoint",
    "clear_leftovers",
    "decided_by_first",
    "find_checkpoint",
    "folders_in",
    "keep_newest",
    "move_into",
    "put_in_place",
    "refuse_leftovers",
    "run_identity",
    "write_model",
    "written_whole",
]
