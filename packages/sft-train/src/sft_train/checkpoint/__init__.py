"""Checkpoints: finding complete ones, continuing from them, and the final model."""

from sft_train.checkpoint.find import STATE, Checkpoint, find_checkpoint, refuse_leftovers
from sft_train.checkpoint.identity import run_identity
from sft_train.checkpoint.save import save_model

__all__ = [
    "STATE",
    "Checkpoint",
    "find_checkpoint",
    "refuse_leftovers",
    "run_identity",
    "save_model",
]
