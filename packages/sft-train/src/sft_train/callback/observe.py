"""The Trainer's events, told to the run's observer."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft_train.observer import Observer


class ObserverBridge(TrainerCallback):
    """Tells an observer when training begins and what is logged."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Steps in all, and steps that a checkpoint had done already."""
        self.observer.started(state.max_steps, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Passes numbers on as they were logged."""
        self.observer.logged(state.global_step, dict(logs or {}))
