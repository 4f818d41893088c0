"""What a training run says of itself at its end: summary.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class GeneratedAnswer(BaseModel):
    """A held-out question with the answer wanted and the answers generated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    wanted: str
    before: str | None = None
    after: str | None = None


class HealthFinding(BaseModel):
    """Something about a run that is not as in a healthy one. Each code is found once in a run.

    Attributes:
        step: optimizer step at which it was seen.
        code: stable short name, such as `loss_diverged`.
        sentence: what was seen, with the numbers, and what it means.
        advice: what to do about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    code: str
    sentence: str
    advice: str


class RunSummary(BaseModel):
    """The outcome of a run.

    Attributes:
        steps: optimizer steps done, resumed ones included.
        epochs: epochs done.
        best_step: step whose weights are the result, with `load_best_model_at_end`; else None, and the last are.
        train_loss_first: mean loss per trained token at the first logged step.
        train_loss_last: the same at the last.
        eval_loss_before: held-out loss per trained token before training; None without held-out rows.
        eval_loss_after: the same after training.
        exact_match_before: part of held-out answers generated exactly before training, 0 to 1.
        exact_match_after: the same after training.
        answer_scores_before: other scores of held-out answers before training, `chrf` and `rouge_l`, 0 to 1.
        answer_scores_after: the same after training.
        task_scores: scores of `lm_eval_tasks`, by `task/metric`.
        tokens: tokens trained on in this process.
        trained_tokens: of these, with a label.
        trainable_parameters: weights that were updated.
        parameters: weights in all.
        seconds: wall time of `run`.
        train_seconds: wall time of the training loop.
        resumed_from: checkpoint folder, when resumed.
        fused_layers: modules that each op of `fused_kernels` replaced.
        layers_not_fused: modules that were left as they are: op, class and reason, and how many.
        samples: generated answers.
        findings: what was not as in a healthy run, in the order in which it was seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    epochs: float
    best_step: int | None = None
    train_loss_first: float | None = None
    train_loss_last: float | None = None
    eval_loss_before: float | None = None
    eval_loss_after: float | None = None
    exact_match_before: float | None = None
    exact_match_after: float | None = None
    answer_scores_before: dict[str, float] = {}
    answer_scores_after: dict[str, float] = {}
    task_scores: dict[str, float] = {}
    tokens: int
    trained_tokens: int
    trainable_parameters: int
    parameters: int
    seconds: float
    train_seconds: float
    resumed_from: str | None = None
    fused_layers: dict[str, int] = {}
    layers_not_fused: dict[str, int] = {}
    samples: tuple[GeneratedAnswer, ...] = ()
    findings: tuple[HealthFinding, ...] = ()
