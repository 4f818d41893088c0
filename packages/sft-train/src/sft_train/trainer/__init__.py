"""Batches, and the Hugging Face Trainer with an exact loss."""

from sft_train.trainer.arguments import training_arguments
from sft_train.trainer.isolation import check_isolation
from sft_train.trainer.rows import EpochRows, StoredRows
from sft_train.trainer.sft import SftTrainer

__all__ = [
    "EpochRows",
    "SftTrainer",
    "StoredRows",
    "check_isolation",
    "training_arguments",
]
