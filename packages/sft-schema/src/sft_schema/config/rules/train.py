"""Steps, optimizer, schedule, checkpoints."""

from __future__ import annotations

from typing import Any

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Check, Finding, Rule

_ADAM_ONLY = ("adam_beta1", "adam_beta2", "adam_epsilon")


def _one_warmup(cfg: SftConfig) -> Finding | None:
    if not (cfg.warmup_steps and cfg.warmup_ratio):
        return None
    message = f"warmup_steps {cfg.warmup_steps} and warmup_ratio {cfg.warmup_ratio} contradict each other"
    return Finding(("warmup_ratio",), message, "keep one of the two")


def _warmup_of_a_constant(cfg: SftConfig) -> Finding | None:
    given = "warmup_steps" if cfg.warmup_steps else "warmup_ratio" if cfg.warmup_ratio else None
    if cfg.lr_scheduler != "constant" or given is None:
        return None
    message = f"{given} has no effect with `lr_scheduler: constant`"
    return Finding((given,), message, "set `lr_scheduler: constant_with_warmup`")


def _adam_settings(cfg: SftConfig) -> Finding | None:
    if cfg.optimizer.startswith("adamw"):
        return None
    for key in _ADAM_ONLY:
        value: Any = getattr(cfg, key)
        if value != SftConfig.model_fields[key].default:
            message = f"{key} has no effect with `optimizer: {cfg.optimizer}`"
            return Finding((key,), message, "remove it, or use an adamw optimizer")
    return None


def _steps_of(strategy: str, steps: str) -> Check:
    def check(cfg: SftConfig) -> Finding | None:
        by_steps, given = getattr(cfg, strategy) == "steps", getattr(cfg, steps) is not None
        if by_steps == given:
            return None
        if given:
            return Finding(
                (steps,),
                f"{steps} has no effect with `{strategy}: {getattr(cfg, strategy)}`",
                f"add `{strategy}: steps`",
            )
        return Finding((strategy,), f"`{strategy}: steps` without {steps}", f"add `{steps}: 100`, say")

    return check


def _resume_folder(cfg: SftConfig) -> Finding | None:
    if cfg.resume_from_checkpoint != "":
        return None
    message = "resume_from_checkpoint is an empty text"
    return Finding(("resume_from_checkpoint",), message, "write true, false, or the path of a checkpoint")


TRAIN_RULES: tuple[Rule, ...] = (
    Rule("two_warmups", ("warmup_steps", "warmup_ratio"), _one_warmup),
    Rule("warmup_of_a_constant", ("lr_scheduler", "warmup_steps", "warmup_ratio"), _warmup_of_a_constant),
    Rule("adam_settings_without_adam", ("optimizer", *_ADAM_ONLY), _adam_settings),
    Rule("save_steps", ("save_strategy", "save_steps"), _steps_of("save_strategy", "save_steps")),
    Rule("eval_steps", ("eval_strategy", "eval_steps"), _steps_of("eval_strategy", "eval_steps")),
    Rule("empty_resume_folder", ("resume_from_checkpoint",), _resume_folder),
)
