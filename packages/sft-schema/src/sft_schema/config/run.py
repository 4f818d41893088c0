"""What a run keeps, measures and shows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sft_schema.config.section import Section, setting

Strategy = Literal["no", "steps", "epoch"]
SaveStrategy = Literal["no", "steps", "epoch", "best"]
AnswerMetric = Literal["exact_match", "chrf", "rouge_l"]
Steps = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]
"""A number of optimizer steps, or a fraction of the run."""


class SavingSection(Section):
    """Output, checkpoints and resuming."""

    output_dir: str = setting("Folder of the model, checkpoints, metrics and report.", "./model-out", min_length=1)
    save_strategy: SaveStrategy = setting(
        "When checkpoints are written; `steps` where `save_steps` or `saves_per_epoch` is given and this is not.",
        "epoch",
    )
    save_steps: Steps | None = setting("Steps between checkpoints; below 1 a fraction of the run.", None)
    saves_per_epoch: int | None = setting(
        "Checkpoints in each epoch, evenly spread, the last at its end; at most one a step, and 0 asks for nothing.",
        None,
        ge=0,
    )
    save_first_step: bool = setting("Also write a checkpoint after the first step, to see that it can be.", False)
    save_total_limit: int = setting("Newest checkpoints kept; the best one is kept as well.", 4, ge=1)
    save_async: bool = setting(
        "Go on training while a checkpoint is written, from a copy of the state in the host's memory.", False
    )
    save_only_model: bool = setting("Checkpoints hold the model alone: smaller, but no run can go on from them.", False)
    hub_model_id: str | None = setting("Model of the hub (`owner/name`) that the result is uploaded to.", None)
    hub_private_repo: bool = setting("Make it private, if there is none of that name.", True)
    max_minutes: float | None = setting(
        "Minutes from its start after which a run writes a checkpoint and stops, with exit code 75.", None, gt=0
    )
    resume_from_checkpoint: bool | str = setting(
        "Go on from the newest complete checkpoint in `output_dir` (true) or from this folder.", False
    )


class EvaluationSection(Section):
    """Loss and generated answers on held-out rows."""

    eval_strategy: Strategy = setting(
        "When the evaluation loss is computed during training; `steps` where `eval_steps` or `evals_per_epoch` is "
        "given and this is not.",
        "no",
    )
    eval_steps: Steps | None = setting("Steps between evaluations; below 1 a fraction of the run.", None)
    evals_per_epoch: int | None = setting(
        "Evaluations in each epoch, evenly spread, the last at its end; without held-out rows it asks for nothing.",
        None,
        ge=0,
    )
    do_causal_lm_eval: bool = setting(
        "Generate the last answer of held-out conversations before and after training and score it.", False
    )
    eval_causal_lm_metrics: tuple[AnswerMetric, ...] = setting(
        "Scores of generated answers: equal to the wanted one, or how much of it they have (chrF2, ROUGE-L).",
        ("exact_match",),
    )
    eval_table_size: int = setting(
        "Generated answers shown and kept as samples, and written to answers.jsonl at each evaluation.", 5, ge=0
    )
    eval_max_new_tokens: int = setting("Longest generated answer, in tokens.", 64, ge=1)
    lm_eval_tasks: tuple[str, ...] = setting(
        "Tasks of the lm-evaluation-harness that the result is evaluated on after training.", ()
    )
    lm_eval_limit: int | None = setting("Questions of each task that are asked; all.", None, ge=1)
    lm_eval_chat_template: bool = setting("Ask them as messages of a conversation, by the chat template.", False)
    lm_eval_include_path: str | None = setting("Folder of further tasks (YAML).", None, min_length=1)


class OutcomeSection(Section):
    """Which weights are the result, and what ends a run early."""

    load_best_model_at_end: bool = setting(
        "The result is the checkpoint of the lowest evaluation loss, not the last weights; true where "
        "`early_stopping_patience` is given and this is not.",
        False,
    )
    metric_for_best_model: Literal["eval_loss", "loss"] = setting(
        "What makes a checkpoint the best one; both names mean the evaluation loss.", "eval_loss"
    )
    greater_is_better: bool | None = setting("Whether a higher value is the better one; not so with a loss.", None)
    early_stopping_patience: int | None = setting(
        "Evaluations in a row without a new lowest loss after which training ends.", None, ge=1
    )
    loss_watchdog_threshold: float | None = setting(
        "Training loss that is too high; twice the loss of the first step is a good choice.", None, gt=0
    )
    loss_watchdog_patience: int = setting(
        "Log lines in a row above `loss_watchdog_threshold` after which the run stops with an error.", 3, ge=1
    )


class LoggingSection(Section):
    """What is logged, and where besides metrics.jsonl."""

    logging_steps: Steps = setting("Steps between log lines; below 1 a fraction of the run.", 1)
    use_tensorboard: bool = setting("Write TensorBoard events to `output_dir`/runs.", False)
