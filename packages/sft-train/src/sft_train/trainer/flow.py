"""When a run logs, evaluates and saves.

It stands in for transformers' own `DefaultFlowCallback`, which knows neither a number of times per epoch nor that a
best checkpoint must be one that was saved. With 6 steps an epoch and `saves_per_epoch: 4`:

    step    1   2   3   4   5   6   7   8   9
    save        x   x       x   x       x   x       the k-th of an epoch after k/4 of it, rounded up to a step
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft_schema import SftConfig
from sft_schema.config.run import SaveStrategy


@dataclass(frozen=True, slots=True)
class Moments:
    """When one thing is done. It depends on the step alone, so it is the same after a resume.

    Attributes:
        strategy: `steps`; or `epoch`, after the last step of each; or another way that no step decides about.
        steps: steps between two times; below 1 a fraction of the run.
        per_epoch: times in each epoch, the last at its end.
    """

    strategy: SaveStrategy
    steps: float | None = None
    per_epoch: int | None = None

    def due(self, step: int, steps_per_epoch: int, max_steps: int) -> bool:
        """Whether it is done after optimizer step `step`, which counts from 1; after the last one in any case."""
        place = (step - 1) % steps_per_epoch + 1
        if self.strategy == "epoch":
            return place == steps_per_epoch or step >= max_steps
        if self.strategy != "steps":
            return False
        if self.per_epoch:
            done, before = (each * self.per_epoch // steps_per_epoch for each in (place, place - 1))
            return done > before or step >= max_steps
        steps = self.steps or math.inf
        return step % math.ceil(steps if steps >= 1 else max_steps * steps) == 0 or step >= max_steps


class Flow(TrainerCallback):
    """Sets the Trainer's control at the end of each step.

    Args:
        cfg: when to log, evaluate and save.
        steps_per_epoch: optimizer steps of an epoch.
        evaluates: there are held-out rows.
    """

    def __init__(self, cfg: SftConfig, steps_per_epoch: int, *, evaluates: bool) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.logging = Moments("steps", cfg.logging_steps)
        self.evaluation = Moments(cfg.eval_strategy if evaluates else "no", cfg.eval_steps, cfg.evals_per_epoch)
        self.saving = Moments(cfg.save_strategy, cfg.save_steps, cfg.saves_per_epoch)
        self.save_first_step = cfg.save_first_step
        self._saved: int | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The first step is always logged."""
        where = (state.global_step, self.steps_per_epoch, state.max_steps)
        control.should_log = control.should_log or state.global_step == 1 or self.logging.due(*where)
        control.should_evaluate = control.should_evaluate or self.evaluation.due(*where)
        first = self.save_first_step and state.global_step == 1
        control.should_save = control.should_save or first or self.saving.due(*where)
        self._log_before_best(control)
        control.should_training_stop = control.should_training_stop or state.global_step >= state.max_steps

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Everything at the end of an epoch is done at its last step, so that a checkpoint there lacks none of it.

        What is left is an epoch that was cut short by something else than its last step.
        """
        early = control.should_training_stop and state.global_step != self._saved
        control.should_save = control.should_save or (early and self.saving.strategy == "epoch")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remembers what need not be saved again."""
        self._saved = state.global_step

    def _log_before_best(self, control: TrainerControl) -> None:
        """An evaluation may lead to a checkpoint, which does not hold the losses since the last log line."""
        control.should_log = control.should_log or (self.saving.strategy == "best" and control.should_evaluate)
