"""What ends a run early: a held-out loss that no longer falls, and a training loss that is far too high.

Both look at the Trainer's own record of what was logged, which checkpoints keep, so a resumed run stops where the
uninterrupted one does.
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft_schema import TrainingError
from sft_schema.config import OutcomeSection
from sft_train.observer import Observer


def stopping(cfg: OutcomeSection, observer: Observer) -> list[TrainerCallback]:
    """The callbacks that a config asks for; every process needs them, so that all stop at once."""
    stops: list[TrainerCallback] = []
    if cfg.early_stopping_patience is not None:
        stops.append(EarlyStop(cfg.early_stopping_patience, observer))
    if cfg.loss_watchdog_threshold is not None:
        stops.append(LossWatchdog(cfg.loss_watchdog_threshold, cfg.loss_watchdog_patience))
    return stops


class EarlyStop(TrainerCallback):
    """Ends training when the held-out loss has not fallen below its lowest value for some evaluations.

    Args:
        patience: evaluations in a row without a new lowest loss.
        observer: is told why training ends.
    """

    def __init__(self, patience: int, observer: Observer) -> None:
        self.patience, self.observer = patience, observer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A run that was killed after its last evaluation and checkpoint goes no further when it is resumed."""
        if any(line["step"] == state.global_step for line in state.log_history if "eval_loss" in line):
            self.on_evaluate(args, state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks at all evaluations of the run so far."""
        measured = [(line["eval_loss"], line["step"]) for line in state.log_history if "eval_loss" in line]
        best = min(range(len(measured)), key=lambda place: measured[place][0], default=0)
        if len(measured) - 1 - best < self.patience or control.should_training_stop:
            return
        loss, step = measured[best]
        self.observer.stage(
            f"stopping at step {state.global_step}: the held-out loss was lowest at step {step} ({loss:.4f}), "
            f"{self.patience} evaluations ago"
        )
        control.should_training_stop = True


class LossWatchdog(TrainerCallback):
    """Ends a run whose training loss stays too high; the checkpoints of before stay.

    Args:
        threshold: loss per trained token that is too high.
        patience: log lines in a row above it.
    """

    def __init__(self, threshold: float, patience: int) -> None:
        self.threshold, self.patience = threshold, patience

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks at the last log lines of training.

        Raises:
            TrainingError: all of them are above the threshold.
        """
        lines = [line for line in state.log_history if "loss" in line][-self.patience :]
        if len(lines) < self.patience or any(line["loss"] <= self.threshold for line in lines):
            return
        shown = ", ".join(f"{line['loss']:.4g} at step {line['step']}" for line in lines)
        message = f"the loss is above loss_watchdog_threshold {self.threshold:g}: {shown}"
        fix = (
            "lower `learning_rate` or add `warmup_steps` and begin anew, or name an earlier checkpoint in "
            "`resume_from_checkpoint` to go on from there"
        )
        raise TrainingError(message, fix=fix)
