"""Collection of Python's garbage at known steps."""

from __future__ import annotations

import gc
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class GarbageCollection(TrainerCallback):
    """Collects garbage every so many steps: cycles of objects may hold on to GPU memory.

    Args:
        steps: steps between collections.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Collects when it is time."""
        if state.global_step % self.steps == 0:
            gc.collect()
