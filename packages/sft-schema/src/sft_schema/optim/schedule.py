"""The table of learning-rate schedules: one row each, with its formula and what it takes.

The learning rate at step s is `learning_rate` times a factor. With a warm-up of w steps it rises as s / w (as
(s / w)^2 with `lr_quadratic_warmup`); then p = (s - w) / (total - w) runs from 0 to 1, and the factor follows the
row. m is `cosine_min_lr_ratio`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sft_schema.optim.argument import Argument

ScheduleName = Literal[
    "cosine",
    "linear",
    "constant",
    "constant_with_warmup",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
    "rex",
    "one_cycle",
]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What one value of `lr_scheduler` is.

    Attributes:
        name: the value.
        formula: the factor after the warm-up.
        args: what `lr_scheduler_kwargs` may hold.
        warmup: it begins with the warm-up of `warmup_steps` or `warmup_ratio`.
        min_ratio: `cosine_min_lr_ratio` lifts its end.
    """

    name: ScheduleName
    formula: str
    args: tuple[Argument, ...] = ()
    warmup: bool = True
    min_ratio: bool = False


_SHAPES = ("linear", "cosine", "1-sqrt")

_ROWS = (
    Schedule("cosine", "m + (1 - m) (1 + cos(2 pi c p)) / 2, c = `num_cycles` (0.5); with `cosine_constant_lr_ratio` "
             "k the total is k times the run, and m holds after it",
             (Argument("num_cycles", float, low=0),), min_ratio=True),
    Schedule("linear", "1 - p"),
    Schedule("constant", "1", warmup=False),
    Schedule("constant_with_warmup", "1"),
    Schedule("cosine_with_restarts", "(1 + cos(pi (n p mod 1))) / 2, n = `num_cycles` (1)",
             (Argument("num_cycles", int, low=1),)),
    Schedule("polynomial", "e + (1 - e) (1 - p)^k, k = `power` (1), e = `lr_end` (1e-7) / `learning_rate`",
             (Argument("power", float, low=0), Argument("lr_end", float, low=0))),
    Schedule("inverse_sqrt", "1 / sqrt(1 + (s - w) / t), t = `timescale` (w, or 10,000 without a warm-up)",
             (Argument("timescale", int, low=1),)),
    Schedule("warmup_stable_decay", "1, and over the last `num_decay_steps` (a tenth of the run) down to "
             "`min_lr_ratio` (0) in the shape of `decay_type` (cosine)",
             (Argument("num_decay_steps", int, low=1), Argument("decay_type", str, choices=_SHAPES),
              Argument("warmup_type", str, choices=_SHAPES), Argument("min_lr_ratio", float, low=0, high=1))),
    Schedule("rex", "m + (1 - m) z / (0.1 + 0.9 z), z = 1 - p", min_ratio=True),
    Schedule("one_cycle", "torch's OneCycleLR: from 1 / `div_factor` (25) up to 1 over the warm-up (`pct_start`, 0.3 "
             "of the run, without one), then down to the start / `final_div_factor` (1e4); momentum runs the other way",
             (Argument("pct_start", float, low=0, high=1), Argument("anneal_strategy", str, choices=("cos", "linear")),
              Argument("div_factor", float, low=1), Argument("final_div_factor", float, low=1),
              Argument("three_phase", bool), Argument("cycle_momentum", bool),
              Argument("base_momentum", float, low=0, high=1), Argument("max_momentum", float, low=0, high=1))),
)  # fmt: skip

SCHEDULES: dict[str, Schedule] = {row.name: row for row in _ROWS}
"""Every row by name, the usual ones first."""
