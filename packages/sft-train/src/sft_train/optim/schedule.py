"""Learning-rate schedules: for each row of the table, the factor on the peak learning rate at every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from sft_schema import ConfigError, Issue
from sft_schema.config import ScheduleSection

Factor = Callable[[int], float]
_LOWEST = 0.001
"""Where jagged restarts begin and end without `cosine_min_lr_ratio`."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a schedule knows of the run.

    Attributes:
        cfg: the schedule's settings; a whole `SftConfig` is one.
        peak: the common learning rate.
        warmup: steps of the warm-up.
        total: steps of the run.
    """

    cfg: ScheduleSection
    peak: float
    warmup: int
    total: int

    def argument(self, name: str, default: Any) -> Any:
        """An argument of `lr_scheduler_kwargs`."""
        return self.cfg.lr_scheduler_kwargs.get(name, default)

    def progress(self, step: int, total: int | None = None) -> float:
        """Part of the way from the end of the warm-up to the end, within 0 and 1."""
        end = self.total if total is None else total
        return min(1.0, (step - self.warmup) / max(1, end - self.warmup))


def build_schedule(optimizer: Optimizer, run: Run) -> LRScheduler:
    """The schedule of a config. Every group's learning rate is multiplied by the same factor.

    Args:
        optimizer: its groups hold their peak learning rates.
        run: the settings and the steps.

    Raises:
        ConfigError: the run is too short for the schedule.
    """
    if run.cfg.lr_scheduler == "one_cycle":
        return _one_cycle(optimizer, run)
    return LambdaLR(optimizer, _with_restarts(_with_warmup(SHAPES[run.cfg.lr_scheduler](run), run), run.cfg))


def _with_warmup(shape: Factor, run: Run) -> Factor:
    power = 2 if run.cfg.lr_quadratic_warmup else 1
    bend = _BENDS[run.argument("warmup_type", "linear")]
    lowest: float = run.argument("min_lr_ratio", 0.0)

    def factor(step: int) -> float:
        if step >= run.warmup:
            return shape(step)
        return lowest + (1 - lowest) * bend(1 - step / run.warmup) ** power

    return factor


def _with_restarts(inner: Factor, cfg: ScheduleSection) -> Factor:
    """Falls to nearly 0 and rises anew every `jagged_restart_steps`, under the curve of `inner`."""
    period, rise, fall = cfg.jagged_restart_steps, cfg.jagged_restart_warmup_steps, cfg.jagged_restart_anneal_steps
    if period is None:
        return inner
    lowest = cfg.cosine_min_lr_ratio or _LOWEST

    def factor(step: int) -> float:
        since = step % period
        part = 1.0
        if since > period - fall:
            part = (period - since) / fall
        elif since < rise and step >= period:
            part = since / rise
        return inner(step) * (lowest + (1 - lowest) * part)

    return factor


def _cosine(run: Run) -> Factor:
    lowest, until = run.cfg.cosine_min_lr_ratio, run.cfg.cosine_constant_lr_ratio
    cycles: float = run.argument("num_cycles", 0.5)
    total = int(run.total * until) if until else run.total
    return lambda step: (
        lowest + (1 - lowest) * 0.5 * (1 + math.cos(2 * math.pi * cycles * run.progress(min(step, total), total)))
    )


def _linear(run: Run) -> Factor:
    return lambda step: 1 - run.progress(step)


def _constant(run: Run) -> Factor:
    return lambda step: 1.0


def _cosine_with_restarts(run: Run) -> Factor:
    cycles: int = run.argument("num_cycles", 1)

    def factor(step: int) -> float:
        progress = run.progress(step)
        return 0.0 if progress >= 1 else 0.5 * (1 + math.cos(math.pi * (cycles * progress % 1)))

    return factor


def _polynomial(run: Run) -> Factor:
    power: float = run.argument("power", 1.0)
    end = run.argument("lr_end", 1e-7) / run.peak
    return lambda step: end + (1 - end) * (1 - run.progress(step)) ** power


def _inverse_sqrt(run: Run) -> Factor:
    scale: int = run.argument("timescale", run.warmup or 10_000)
    return lambda step: 1 / math.sqrt(1 + (step - run.warmup) / scale)


def _warmup_stable_decay(run: Run) -> Factor:
    left = run.total - run.warmup
    steps: int = run.argument("num_decay_steps", max(1, min(round(run.total / 10), left)))
    if steps > max(1, left):
        message = f"the rate would fall for {steps} steps, and {left} of {run.total} are left after the warm-up"
        fix = "lower `num_decay_steps` or the warm-up"
        raise ConfigError([Issue("decay_outlasts_run", ("lr_scheduler_kwargs", "num_decay_steps"), message, fix)])
    bend, lowest = _BENDS[run.argument("decay_type", "cosine")], run.argument("min_lr_ratio", 0.0)
    return lambda step: lowest + (1 - lowest) * bend(min(1.0, max(0.0, (step - (run.total - steps)) / steps)))


def _rex(run: Run) -> Factor:
    """Reflected exponential (Chen et al. 2021, arXiv 2107.04197)."""
    lowest = run.cfg.cosine_min_lr_ratio

    def factor(step: int) -> float:
        left = 1 - run.progress(step)
        return lowest + (1 - lowest) * left / (0.1 + 0.9 * left)

    return factor


def _one_cycle(optimizer: Optimizer, run: Run) -> OneCycleLR:
    """Torch's own, which moves momentum too where there is one."""
    defaults: dict[str, Any] = optimizer.defaults
    arguments: dict[str, Any] = {
        "cycle_momentum": "betas" in defaults or defaults.get("momentum", 0) > 0,
        "pct_start": run.warmup / run.total if run.warmup else 0.3,
        **run.cfg.lr_scheduler_kwargs,
    }
    return OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], run.total, **arguments)


_BENDS: Mapping[str, Callable[[float], float]] = {
    "linear": lambda part: 1 - part,
    "cosine": lambda part: 0.5 * (1 + math.cos(math.pi * part)),
    "1-sqrt": lambda part: 1 - math.sqrt(part),
}
"""Ways from 1 down to 0."""

SHAPES: Mapping[str, Callable[[Run], Factor]] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
    "constant_with_warmup": _constant,
    "cosine_with_restarts": _cosine_with_restarts,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
    "warmup_stable_decay": _warmup_stable_decay,
    "rex": _rex,
}
"""The curve after the warm-up, for each row of the table but one_cycle."""
