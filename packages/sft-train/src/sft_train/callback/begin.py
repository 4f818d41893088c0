"""What is done once, when the model is as it will be trained: wrapped, and with the weights of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class AtBegin(TrainerCallback):
    """Calls a function when training begins, before the first step.

    Args:
        do: is given the model.
    """

    def __init__(self, do: Callable[[Any], None]) -> None:
        self.do = do

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Everything is in place."""
        self.do(kwargs["model"])
