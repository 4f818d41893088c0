"""summary.json: the outcome of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sft_kernels.replace import Replacements
from sft_schema.record import GeneratedAnswer, HealthFinding, RunSummary
from sft_train.callback import HealthMonitor, read_metrics
from sft_train.evaluate.score import Score
from sft_train.model import weights_of
from sft_train.trainer import SftTrainer


@dataclass(frozen=True, slots=True)
class Course:
    """What happened around training.

    Attributes:
        before: scores of the model before training.
        after: scores after it.
        began: `time.perf_counter()` at the beginning of the run.
        train_seconds: wall time of the training loop.
        resumed_from: checkpoint folder, or None.
        fused: what `fused_kernels` replaced.
        tasks: scores of `lm_eval_tasks`.
    """

    before: Score
    after: Score
    began: float
    train_seconds: float
    resumed_from: Path | None
    fused: Replacements
    tasks: dict[str, float]


def summarise(trainer: SftTrainer, course: Course, metrics_file: Path, samples: int) -> RunSummary:
    """The summary of a finished run.

    Args:
        trainer: after training.
        course: scores and times.
        metrics_file: metrics.jsonl, which knows the losses of a run that was resumed too.
        samples: generated answers to keep.
    """
    losses = [line["loss"] for line in read_metrics(metrics_file) if "loss" in line]
    parameters = list(trainer.model.parameters())
    return RunSummary(
        steps=trainer.state.global_step,
        epochs=round(trainer.state.epoch or 0.0, 4),
        best_step=trainer.best_step(),
        train_loss_first=losses[0] if losses else None,
        train_loss_last=losses[-1] if losses else None,
        eval_loss_before=course.before.loss,
        eval_loss_after=course.after.loss,
        exact_match_before=course.before.exact_match,
        exact_match_after=course.after.exact_match,
        answer_scores_before=course.before.overlaps,
        answer_scores_after=course.after.overlaps,
        task_scores=course.tasks,
        tokens=trainer.throughput.tokens,
        trained_tokens=trainer.throughput.trained_tokens,
        trainable_parameters=sum(weights_of(each) for each in parameters if each.requires_grad),
        parameters=sum(weights_of(each) for each in parameters),
        seconds=round(time.perf_counter() - course.began, 2),
        train_seconds=round(course.train_seconds, 2),
        resumed_from=None if course.resumed_from is None else str(course.resumed_from),
        fused_layers=course.fused.replaced,
        layers_not_fused=course.fused.left,
        samples=_samples(course.before, course.after, samples),
        findings=_findings(trainer),
    )


def _samples(before: Score, after: Score, count: int) -> tuple[GeneratedAnswer, ...]:
    answers = zip(after.prompts, before.answers, after.answers, strict=True)
    return tuple(
        GeneratedAnswer(prompt=prompt.text, wanted=prompt.wanted, before=was, after=now)
        for prompt, was, now in islice(answers, count)
    )


def _findings(trainer: SftTrainer) -> tuple[HealthFinding, ...]:
    """What the monitor saw; none in a process that has no monitor."""
    monitors = [each for each in trainer.callback_handler.callbacks if isinstance(each, HealthMonitor)]
    return tuple(found for monitor in monitors for found in monitor.found)


def write_summary(summary: RunSummary, path: Path) -> None:
    """Writes it as JSON."""
    path.write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
