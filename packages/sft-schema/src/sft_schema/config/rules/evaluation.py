"""Evaluation: on what, when, and with which scores."""

from __future__ import annotations

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule


def _one_eval_source(cfg: SftConfig) -> Finding | None:
    if not (cfg.val_set_size and cfg.test_datasets):
        return None
    message = "val_set_size and test_datasets both say what to evaluate on"
    return Finding(("val_set_size",), message, "keep one of the two")


def _eval_needs_data(cfg: SftConfig) -> Finding | None:
    if cfg.val_set_size or cfg.test_datasets:
        return None
    for key, wanted in (
        ("eval_steps", cfg.eval_strategy == "steps" and cfg.eval_steps),
        # evaluations per epoch of no rows are none, and nothing is lost
        ("eval_strategy", cfg.eval_strategy != "no" and not cfg.evals_per_epoch),
        ("do_causal_lm_eval", cfg.do_causal_lm_eval),
    ):
        if wanted:
            return Finding(
                (key,),
                f"{key} is set, but there are no rows to evaluate on",
                "add `val_set_size` or `test_datasets`",
            )
    return None


def _questions(cfg: SftConfig) -> Finding | None:
    if not (cfg.do_causal_lm_eval and (cfg.val_set_size or cfg.test_datasets)):
        return None
    if any(dataset.type in ("chat_template", "auto") for dataset in cfg.test_datasets):
        return None
    message = "questions are the conversations of test_datasets, and there are none"
    return Finding(("do_causal_lm_eval",), message, "add a data set of `type: chat_template` to test_datasets")


def _scores(cfg: SftConfig) -> Finding | None:
    if not cfg.do_causal_lm_eval or cfg.eval_causal_lm_metrics:
        return None
    message = "do_causal_lm_eval generates answers, and eval_causal_lm_metrics names no score for them"
    return Finding(("eval_causal_lm_metrics",), message, "write `[exact_match]`, or set `do_causal_lm_eval: false`")


def _tasks(cfg: SftConfig) -> Finding | None:
    given = {
        "lm_eval_limit": cfg.lm_eval_limit is not None,
        "lm_eval_chat_template": cfg.lm_eval_chat_template,
        "lm_eval_include_path": cfg.lm_eval_include_path is not None,
    }
    key = next((key for key, is_given in given.items() if is_given), None)
    if cfg.lm_eval_tasks or key is None:
        return None
    return Finding(
        (key,), f"{key} has no effect without lm_eval_tasks", "add `lm_eval_tasks: [arc_easy]`, or remove it"
    )


EVALUATION_RULES: tuple[Rule, ...] = (
    Rule("two_eval_sources", ("val_set_size", "test_datasets"), _one_eval_source),
    Rule(
        "eval_without_data",
        ("val_set_size", "test_datasets", "eval_strategy", "eval_steps", "evals_per_epoch", "do_causal_lm_eval"),
        _eval_needs_data,
    ),
    Rule("questions_without_conversations", ("val_set_size", "test_datasets", "do_causal_lm_eval"), _questions),
    Rule("answers_without_score", ("do_causal_lm_eval", "eval_causal_lm_metrics"), _scores),
    Rule(
        "lm_eval_without_tasks",
        ("lm_eval_tasks", "lm_eval_limit", "lm_eval_chat_template", "lm_eval_include_path"),
        _tasks,
    ),
)
