"""Which weights are the result, and what ends a run early."""

from __future__ import annotations

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.config.run import OutcomeSection

_SAVES, _EVALS = ("save_strategy", "save_steps", "saves_per_epoch"), ("eval_strategy", "eval_steps", "evals_per_epoch")


def _evaluates(cfg: SftConfig) -> bool:
    return cfg.eval_strategy != "no" and bool(cfg.val_set_size or cfg.test_datasets)


def _best_needs_evaluation(cfg: SftConfig) -> Finding | None:
    wanted = {
        "early_stopping_patience": cfg.early_stopping_patience is not None,
        "load_best_model_at_end": cfg.load_best_model_at_end,
        "save_strategy": cfg.save_strategy == "best",
    }
    key = next((key for key, is_wanted in wanted.items() if is_wanted), None)
    if key is None or _evaluates(cfg):
        return None
    message = f"{key} goes by the evaluation loss, and there is no evaluation during training"
    return Finding((key,), message, "add `evals_per_epoch: 1`, and `val_set_size` or `test_datasets`")


def _best_needs_checkpoint(cfg: SftConfig) -> Finding | None:
    if not cfg.load_best_model_at_end or _each_save_is_evaluated(cfg):
        return None
    message = "checkpoints are not written at steps that are evaluated, so the best of them is not known"
    fix = "write `save_strategy: best`, or let the times of saving be among those of evaluation"
    return Finding(("load_best_model_at_end",), message, fix)


def _each_save_is_evaluated(cfg: SftConfig) -> bool:
    if cfg.save_strategy == "best" or not _evaluates(cfg):  # another rule asks for evaluations
        return True
    if cfg.save_strategy != cfg.eval_strategy:
        return False
    if cfg.save_strategy == "epoch":
        return True
    if cfg.saves_per_epoch and cfg.evals_per_epoch:
        return cfg.evals_per_epoch % cfg.saves_per_epoch == 0
    if isinstance(cfg.save_steps, int) and isinstance(cfg.eval_steps, int):
        return cfg.save_steps % cfg.eval_steps == 0
    return cfg.save_steps is not None and cfg.save_steps == cfg.eval_steps


def _best_loss_is_lowest(cfg: SftConfig) -> Finding | None:
    if not cfg.greater_is_better:
        return None
    message = f"greater_is_better: true with `metric_for_best_model: {cfg.metric_for_best_model}` would keep the worst"
    return Finding(("greater_is_better",), message, "remove it")


def _watchdog(cfg: SftConfig) -> Finding | None:
    usual = OutcomeSection.model_fields["loss_watchdog_patience"].default
    if cfg.loss_watchdog_threshold is not None or cfg.loss_watchdog_patience == usual:
        return None
    message = "loss_watchdog_patience has no effect without loss_watchdog_threshold"
    return Finding(("loss_watchdog_patience",), message, "add `loss_watchdog_threshold: 5.0`, say, or remove it")


def _async_checkpoint_is_uploaded(cfg: SftConfig) -> Finding | None:
    if not cfg.save_async:
        return None
    uploads = {
        "wandb_log_model": cfg.wandb_log_model == "checkpoint",
        "hf_mlflow_log_artifacts": cfg.hf_mlflow_log_artifacts,
    }
    key = next((key for key, wanted in uploads.items() if wanted), None)
    if key is None:
        return None
    message = f"{key} uploads a checkpoint as soon as it is saved, and with save_async it is not written then"
    return Finding(("save_async",), message, f"set `save_async: false`, or remove {key}")


OUTCOME_RULES: tuple[Rule, ...] = (
    Rule(
        "best_without_evaluation",
        ("early_stopping_patience", "load_best_model_at_end", *_SAVES, *_EVALS, "val_set_size", "test_datasets"),
        _best_needs_evaluation,
    ),
    Rule(
        "best_without_checkpoint",
        ("load_best_model_at_end", *_SAVES, *_EVALS, "val_set_size", "test_datasets"),
        _best_needs_checkpoint,
    ),
    Rule("best_is_lowest", ("greater_is_better", "metric_for_best_model"), _best_loss_is_lowest),
    Rule("watchdog_without_threshold", ("loss_watchdog_threshold", "loss_watchdog_patience"), _watchdog),
    Rule(
        "async_checkpoint_uploaded",
        ("save_async", "wandb_log_model", "hf_mlflow_log_artifacts"),
        _async_checkpoint_is_uploaded,
    ),
)
