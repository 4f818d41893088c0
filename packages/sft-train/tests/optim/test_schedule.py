"""Each schedule follows its formula, and transformers' own curve where there is one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from sft_schema import ConfigError, SftConfig
from sft_schema.optim import SCHEDULES
from sft_train.optim import build_schedule
from sft_train.optim.schedule import Run

MakeConfig = Callable[..., SftConfig]
TOTAL = 40
PEAK = 1e-3


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=PEAK)


def curve(cfg: SftConfig, warmup: int = 0, *rates: float) -> list[float]:
    """Learning rate of each step over the peak, of the first group."""
    return walk(each := optimizer(*(rates or (PEAK,))), build_schedule(each, Run(cfg, PEAK, warmup, TOTAL)))


def walk(each: torch.optim.Optimizer, schedule: Any) -> list[float]:
    found = []
    for _ in range(TOTAL):
        found.append(each.param_groups[0]["lr"] / PEAK)
        each.step()
        schedule.step()
    return found


SAME_AS_TRANSFORMERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("cosine", {}, {}),
    ("cosine", {"num_cycles": 1.25}, {"num_cycles": 1.25}),
    ("linear", {}, {}),
    ("constant_with_warmup", {}, {}),
    ("cosine_with_restarts", {"num_cycles": 3}, {"num_cycles": 3}),
    ("polynomial", {}, {}),
    ("polynomial", {"power": 2.0, "lr_end": 1e-4}, {"power": 2.0, "lr_end": 1e-4}),
    ("inverse_sqrt", {}, {}),
    ("inverse_sqrt", {"timescale": 8}, {"timescale": 8}),
    ("warmup_stable_decay", {}, {"num_decay_steps": 4}),
    ("warmup_stable_decay", {"num_decay_steps": 9, "decay_type": "1-sqrt", "min_lr_ratio": 0.2}, {}),
    ("warmup_stable_decay", {"num_decay_steps": 9, "decay_type": "linear", "warmup_type": "cosine"}, {}),
    ("warmup_stable_decay", {"num_decay_steps": 9, "warmup_type": "1-sqrt", "min_lr_ratio": 0.1}, {}),
]


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize(("name", "ours", "theirs"), SAME_AS_TRANSFORMERS)
def test_a_schedule_of_transformers_is_the_same_here(
    name: str, ours: dict[str, Any], theirs: dict[str, Any], warmup: int, config: MakeConfig
) -> None:
    each = optimizer(PEAK)
    wanted = get_scheduler(name, each, warmup, TOTAL, scheduler_specific_kwargs=theirs or ours)
    kwargs = "{" + ", ".join(f"{key}: {value}" for key, value in ours.items()) + "}"
    cfg = config(lr_scheduler=name, lr_scheduler_kwargs=kwargs)
    assert curve(cfg, warmup) == pytest.approx(walk(each, wanted), abs=1e-9)


def test_cosine_ends_at_its_lowest_part_of_the_peak(config: MakeConfig) -> None:
    found = curve(config(cosine_min_lr_ratio="0.1"), 4)
    for step, factor in enumerate(found):
        part = (step - 4) / 36
        wanted = step / 4 if step < 4 else 0.1 + 0.9 * (1 + math.cos(math.pi * part)) / 2
        assert factor == pytest.approx(wanted)


def test_cosine_reaches_its_lowest_rate_early_and_keeps_it(config: MakeConfig) -> None:
    found = curve(config(cosine_min_lr_ratio="0.2", cosine_constant_lr_ratio="0.5"), 4)
    for step, factor in enumerate(found):
        part = (min(step, 20) - 4) / 16
        wanted = step / 4 if step < 4 else 0.2 + 0.8 * (1 + math.cos(math.pi * part)) / 2
        assert factor == pytest.approx(wanted)
    assert found[20:] == pytest.approx([0.2] * 20)


@pytest.mark.parametrize("lowest", [0.0, 0.25])
def test_rex_follows_its_formula(lowest: float, config: MakeConfig) -> None:
    found = curve(config(lr_scheduler="rex", cosine_min_lr_ratio=str(lowest)), 5)
    for step, factor in enumerate(found):
        left = (TOTAL - step) / (TOTAL - 5)
        wanted = step / 5 if step < 5 else lowest + (1 - lowest) * left / (0.1 + 0.9 * left)
        assert factor == pytest.approx(wanted)


def test_a_constant_rate_is_constant(config: MakeConfig) -> None:
    assert curve(config(lr_scheduler="constant")) == [1.0] * TOTAL


def test_quadratic_warmup_rises_with_the_square(config: MakeConfig) -> None:
    found = curve(config(lr_quadratic_warmup="true", warmup_steps="8"), 8)
    assert found[:9] == pytest.approx([(step / 8) ** 2 for step in range(9)])


def test_one_cycle_rises_over_the_warmup_and_moves_momentum_the_other_way(config: MakeConfig) -> None:
    each = optimizer(PEAK, PEAK / 10)
    schedule = build_schedule(each, Run(config(lr_scheduler="one_cycle"), PEAK, 10, TOTAL))
    rates, betas = [], []
    for _ in range(TOTAL):
        rates.append([group["lr"] for group in each.param_groups])
        betas.append(each.param_groups[0]["betas"][0])
        each.step()
        schedule.step()
    peak = max(range(TOTAL), key=lambda step: rates[step][0])
    assert peak == 9
    assert rates[0][0] == pytest.approx(PEAK / 25)
    assert rates[peak] == pytest.approx([PEAK, PEAK / 10])
    assert rates[-1][0] == pytest.approx(PEAK / 25 / 1e4)
    assert (betas[0], betas[peak], betas[-1]) == pytest.approx((0.95, 0.85, 0.95))


def test_one_cycle_takes_its_arguments(config: MakeConfig) -> None:
    kwargs = "{pct_start: 0.5, anneal_strategy: linear, div_factor: 10, final_div_factor: 2, cycle_momentum: false}"
    found = curve(config(lr_scheduler="one_cycle", lr_scheduler_kwargs=kwargs))
    assert found[0] == pytest.approx(0.1)
    assert max(found) == found[19] == pytest.approx(1.0)
    assert found[10] == pytest.approx(0.1 + 0.9 * 10 / 19)
    assert found[-1] == pytest.approx(0.05)


def test_jagged_restarts_fall_and_rise_under_the_curve_of_the_schedule(config: MakeConfig) -> None:
    restarts = {"jagged_restart_steps": "10", "jagged_restart_warmup_steps": "4", "jagged_restart_anneal_steps": "2"}
    plain, jagged = curve(config(lr_scheduler="linear")), curve(config(lr_scheduler="linear", **restarts))
    parts = [found / wanted for found, wanted in zip(jagged, plain, strict=True)]
    assert parts[:9] == pytest.approx([1.0] * 9)
    assert parts[9] == pytest.approx(0.001 + 0.999 * 0.5)
    assert parts[10:15] == pytest.approx([0.001 + 0.999 * part for part in (0, 0.25, 0.5, 0.75, 1)])
    assert parts[20] == pytest.approx(0.001)
    lifted = curve(config(lr_scheduler="constant", cosine_min_lr_ratio="0.3", **restarts))
    assert min(lifted) == pytest.approx(0.3)


def test_a_decay_longer_than_the_run_is_refused(config: MakeConfig) -> None:
    cfg = config(lr_scheduler="warmup_stable_decay", lr_scheduler_kwargs="{num_decay_steps: 39}")
    with pytest.raises(ConfigError, match="fall for 39 steps, and 30 of 40 are left"):
        curve(cfg, 10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_goes_on_where_it_was(name: str, config: MakeConfig) -> None:
    run = Run(config(lr_scheduler=name), PEAK, 0 if name == "constant" else 5, TOTAL)
    whole = optimizer(PEAK)
    schedule = build_schedule(whole, run)
    for _ in range(17):
        whole.step()
        schedule.step()
    again = optimizer(PEAK)
    resumed = build_schedule(again, run)
    again.load_state_dict(whole.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(TOTAL - 17):
        assert again.param_groups[0]["lr"] == whole.param_groups[0]["lr"]
        for each in (whole, again, schedule, resumed):
            each.step()
