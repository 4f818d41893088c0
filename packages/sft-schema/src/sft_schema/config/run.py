"""What a run keeps, measures and shows."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting

Strategy = Literal["no", "steps", "epoch"]


class SavingSection(Section):
    """Output, checkpoints and resuming."""

    output_dir: str = setting("Folder of the model, checkpoints, metrics and report.", "./model-out", min_length=1)
    save_strategy: Strategy = setting("When checkpoints are written.", "epoch")
    save_steps: int | None = setting("Steps between checkpoints, with `save_strategy: steps`.", None, ge=1)
    save_total_limit: int = setting("Newest checkpoints kept.", 4, ge=1)
    resume_from_checkpoint: bool | str = setting(
        "Go on from the newest complete checkpoint in `output_dir` (true) or from this folder.", False
    )


class EvaluationSection(Section):
    """Loss and generated answers on held-out rows."""

    eval_strategy: Strategy = setting("When the evaluation loss is computed during training.", "no")
    eval_steps: int | None = setting("Steps between evaluations, with `eval_strategy: steps`.", None, ge=1)
    do_causal_lm_eval: bool = setting(
        "Generate the last answer of held-out conversations before and after training and score it.", False
    )
    eval_causal_lm_metrics: tuple[Literal["exact_match"], ...] = setting(
        "Scores of generated answers.", ("exact_match",)
    )
    eval_table_size: int = setting("Generated answers shown and kept as samples.", 5, ge=0)
    eval_max_new_tokens: int = setting("Longest generated answer, in tokens.", 64, ge=1)


class LoggingSection(Section):
    """What is logged, and where besides metrics.jsonl."""

    logging_steps: int = setting("Steps between log lines.", 1, ge=1)
    use_tensorboard: bool = setting("Write TensorBoard events to `output_dir`/runs.", False)
