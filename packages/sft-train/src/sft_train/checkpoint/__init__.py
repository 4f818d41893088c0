"""Checkpoints: writing them whole, finding complete ones, continuing from them; and the final model."""

from sft_train.checkpoint.find import STATE, Checkpoint, find_checkpoint, refuse_leftovers
from sft_train.checkpoint.folders import clear_leftovers, folders_in, keep_newest, move_into, put_in_place
from sft_train.checkpoint.identity import run_identity
from sft_train.checkpoint.later import WrittenLater, in_host_memory, refuse_shared_out, writer_of
from sft_train.checkpoint.lock import alone_in
from sft_train.checkpoint.manifest import files_of
from sft_train.checkpoint.save import write_model
from sft_train.checkpoint.together import begun, decided_by_first, written_whole

__all__ = [
    "STATE",
    "Checkpoint",
    "WrittenLater",
    "alone_in",
    "begun",
    "clear_leftovers",
    "decided_by_first",
    "files_of",
    "find_checkpoint",
    "folders_in",
    "in_host_memory",
    "keep_newest",
    "move_into",
    "put_in_place",
    "refuse_leftovers",
    "refuse_shared_out",
    "run_identity",
    "write_model",
    "writer_of",
    "written_whole",
]
