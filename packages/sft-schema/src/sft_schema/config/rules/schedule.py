"""The learning-rate schedule and what goes with it."""

from __future__ import annotations

from typing import Any

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.optim import OPTIMIZERS, SCHEDULES, argument_problem

_JAGGED = ("jagged_restart_warmup_steps", "jagged_restart_anneal_steps")
_CONSTANT = ("constant", "constant_with_warmup")


def _one_warmup(cfg: SftConfig) -> Finding | None:
    if not (cfg.warmup_steps and cfg.warmup_ratio):
        return None
    message = f"warmup_steps {cfg.warmup_steps} and warmup_ratio {cfg.warmup_ratio} contradict each other"
    return Finding(("warmup_ratio",), message, "keep one of the two")


def _given_warmup(cfg: SftConfig) -> str | None:
    return "warmup_steps" if cfg.warmup_steps else "warmup_ratio" if cfg.warmup_ratio else None


def _warmup_of_a_constant(cfg: SftConfig) -> Finding | None:
    given = _given_warmup(cfg)
    if SCHEDULES[cfg.lr_scheduler].warmup or given is None:
        return None
    message = f"{given} has no effect with `lr_scheduler: {cfg.lr_scheduler}`"
    return Finding((given,), message, "set `lr_scheduler: constant_with_warmup`")


def _quadratic_warmup(cfg: SftConfig) -> Finding | None:
    if not cfg.lr_quadratic_warmup or (_given_warmup(cfg) and cfg.lr_scheduler != "one_cycle"):
        return None
    message = "lr_quadratic_warmup has no effect: there is no warm-up whose shape could change"
    return Finding(("lr_quadratic_warmup",), message, "add `warmup_steps: 100`, say, or remove it")


def _kwargs(cfg: SftConfig) -> Finding | None:
    args = SCHEDULES[cfg.lr_scheduler].args
    found = argument_problem(args, cfg.lr_scheduler_kwargs)
    if found is None:
        return _end_over_peak(cfg)
    message = f"{found[1]} among the arguments of `lr_scheduler: {cfg.lr_scheduler}`"
    fix = f"it takes {', '.join(each.name for each in args)}" if args else "it takes none: remove `lr_scheduler_kwargs`"
    return Finding(("lr_scheduler_kwargs", found[0]), message, fix)


def _end_over_peak(cfg: SftConfig) -> Finding | None:
    end = cfg.lr_scheduler_kwargs.get("lr_end", 0.0)
    if not isinstance(end, int | float) or end < cfg.learning_rate:
        return None
    message = f"lr_end {end:g} is not below the peak, learning_rate {cfg.learning_rate:g}"
    return Finding(("lr_scheduler_kwargs", "lr_end"), message, "lower it")


def _two_starts(cfg: SftConfig) -> Finding | None:
    given = _given_warmup(cfg)
    if given is None or "pct_start" not in cfg.lr_scheduler_kwargs:
        return None
    message = f"{given} and pct_start both say how long the rate rises"
    return Finding(("lr_scheduler_kwargs", "pct_start"), message, "keep one of the two")


def _lowest_rate(cfg: SftConfig) -> Finding | None:
    row = SCHEDULES[cfg.lr_scheduler]
    if cfg.cosine_min_lr_ratio and not row.min_ratio and cfg.jagged_restart_steps is None:
        names = " or ".join(f"`lr_scheduler: {each.name}`" for each in SCHEDULES.values() if each.min_ratio)
        message = f"cosine_min_lr_ratio has no effect with `lr_scheduler: {cfg.lr_scheduler}`"
        return Finding(("cosine_min_lr_ratio",), message, f"set {names}")
    if not cfg.cosine_constant_lr_ratio:
        return None
    if row.name != "cosine":
        message = f"cosine_constant_lr_ratio has no effect with `lr_scheduler: {cfg.lr_scheduler}`"
        return Finding(("cosine_constant_lr_ratio",), message, "set `lr_scheduler: cosine`")
    if not cfg.cosine_min_lr_ratio:
        message = f"with the rate at 0 nothing is learnt after {cfg.cosine_constant_lr_ratio:g} of the run"
        return Finding(("cosine_constant_lr_ratio",), message, "add `cosine_min_lr_ratio: 0.1`, say")
    return None


def _jagged(cfg: SftConfig) -> Finding | None:
    if cfg.jagged_restart_steps is None:
        for key in _JAGGED:
            value: Any = getattr(cfg, key)
            if value != SftConfig.model_fields[key].default:
                message = f"{key} has no effect without jagged_restart_steps"
                return Finding((key,), message, "add `jagged_restart_steps: 500`, say, or remove it")
        return None
    if cfg.lr_scheduler == "one_cycle":
        message = "one cycle has no restarts"
        return Finding(("jagged_restart_steps",), message, "remove it, or set `lr_scheduler: cosine`")
    taken = cfg.jagged_restart_warmup_steps + cfg.jagged_restart_anneal_steps
    if taken > cfg.jagged_restart_steps:
        message = f"a rise and a fall take {taken} steps, more than the {cfg.jagged_restart_steps} between restarts"
        return Finding(("jagged_restart_steps",), message, "raise it, or lower `jagged_restart_warmup_steps`")
    return None


def _schedule_of_schedule_free(cfg: SftConfig) -> Finding | None:
    if not OPTIMIZERS[cfg.optimizer].schedule_free or cfg.lr_scheduler in _CONSTANT:
        return None
    message = f"{cfg.optimizer} averages the weights in place of a falling rate, and `{cfg.lr_scheduler}` lowers it too"
    return Finding(("optimizer",), message, "set `lr_scheduler: constant` or `constant_with_warmup`")


_WARMUP = ("warmup_steps", "warmup_ratio")

SCHEDULE_RULES: tuple[Rule, ...] = (
    Rule("two_warmups", _WARMUP, _one_warmup),
    Rule("warmup_of_a_constant", ("lr_scheduler", *_WARMUP), _warmup_of_a_constant),
    Rule("quadratic_warmup", ("lr_quadratic_warmup", "lr_scheduler", *_WARMUP), _quadratic_warmup),
    Rule("lr_scheduler_kwargs", ("lr_scheduler", "lr_scheduler_kwargs", "learning_rate"), _kwargs),
    Rule("two_starts_of_a_cycle", ("lr_scheduler_kwargs", *_WARMUP), _two_starts),
    Rule(
        "lowest_rate",
        ("lr_scheduler", "cosine_min_lr_ratio", "cosine_constant_lr_ratio", "jagged_restart_steps"),
        _lowest_rate,
    ),
    Rule("jagged_restarts", ("jagged_restart_steps", *_JAGGED, "lr_scheduler"), _jagged),
    Rule("schedule_of_schedule_free", ("optimizer", "lr_scheduler"), _schedule_of_schedule_free),
)
