"""What a run has logged so far, and what is known of it beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run before its first step.

    Attributes:
        steps: optimizer steps in all.
        warmup: steps of the warm-up.
        schedule: `lr_scheduler`.
        steady: that schedule keeps the learning rate for most of the run.
        vocabulary: tokens that the model knows; None where its weights are random at first.
    """

    steps: int
    warmup: int = 0
    schedule: str = "cosine"
    steady: bool = False
    vocabulary: int | None = None


@dataclass(frozen=True, slots=True)
class TrainLine:
    """One log line of training; None for what it does not say.

    Attributes:
        step: optimizer step.
        loss: mean per trained token since the last line.
        norm: of the gradient, before it is clipped.
        rate: learning rate.
        share: trained part of the tokens since the last line, 0 to 1.
    """

    step: int
    loss: float
    norm: float | None
    rate: float | None
    share: float | None


@dataclass(slots=True)
class History:
    """Log lines in order.

    Attributes:
        train: those of training.
        evals: step and held-out loss; one of a step alone.
    """

    train: list[TrainLine] = field(default_factory=list[TrainLine])
    evals: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])

    def add(self, step: int, logs: Mapping[str, Any]) -> str | None:
        """Takes in what was logged at a step.

        Args:
            step: optimizer step.
            logs: as in metrics.jsonl; keys that are not known here are passed over.

        Returns:
            `train` or `eval`, whichever list has grown; None when none has.
        """
        if "loss" in logs:
            self.train.append(
                TrainLine(step, logs["loss"], logs.get("grad_norm"), logs.get("learning_rate"), _share(logs))
            )
            return "train"
        if "eval_loss" in logs and not any(known == step for known, _ in self.evals):
            self.evals.append((step, logs["eval_loss"]))
            return "eval"
        return None


def _share(logs: Mapping[str, Any]) -> float | None:
    trained, tokens = logs.get("trained_tokens_per_second"), logs.get("tokens_per_second")
    if trained is None or tokens is None:
        return None
    # steps without any trained token count no tokens either
    return trained / tokens if tokens else 0.0
