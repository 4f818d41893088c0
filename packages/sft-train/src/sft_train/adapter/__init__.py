"""What is trained besides or instead of the model's own weights."""

from sft_train.adapter.loftq import start_at_lost_part
from sft_train.adapter.lora import add_adapter

__all__ = ["add_adapter", "start_at_lost_part"]
