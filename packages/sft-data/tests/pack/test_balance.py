"""Rows of a step dealt out by cost: the same rows, evener shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sft_data import plan_packs
from sft_data.pack import attention_cost, deal_evenly, steps_alike
from sft_schema.check import check_plan
from sft_schema.config import PackingSection

LENGTHS = st.lists(st.integers(1, 30), max_size=120)


def shares(cost: NDArray[np.int64], micro: int, accumulation: int, processes: int) -> NDArray[np.int64]:
    """Cost of each process in each whole step: `[steps, processes]`."""
    steps = len(cost) // (micro * accumulation * processes)
    whole = cost[: steps * micro * accumulation * processes]
    return whole.reshape(steps, accumulation, processes, micro).sum(axis=(1, 3))


@pytest.mark.parametrize("strategy", ["bfd", "wrapped"])
@given(LENGTHS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(0, 3))
def test_a_step_has_the_same_rows_in_even_shares(
    strategy: str, lengths: list[int], micro: int, accumulation: int, processes: int, epoch: int
) -> None:
    cfg = PackingSection.model_validate({"sequence_len": 30, "sample_packing": True, "packing_strategy": strategy})
    plan = plan_packs(np.array(lengths), cfg, epoch=epoch)
    cost = attention_cost(plan, np.array(lengths))
    step = {"micro_batch_size": micro, "accumulation": accumulation, "processes": processes}
    dealt = deal_evenly(plan, cost, **step)
    check_plan(dealt, lengths)
    size = micro * accumulation * processes
    before, after = ([str(each.row(row).tolist()) for row in range(len(each))] for each in (plan, dealt))
    for first in range(0, len(plan), size):
        assert sorted(after[first : first + size]) == sorted(before[first : first + size])
    busiest = [
        shares(attention_cost(each, np.array(lengths)), micro, accumulation, processes).max(axis=1, initial=0)
        for each in (plan, dealt)
    ]
    assert (busiest[1] <= busiest[0]).all()


def test_shares_of_a_chat_are_nearly_even() -> None:
    lengths = np.random.default_rng(0).lognormal(5.5, 0.8, 20_000).astype(int).clip(8, 2048)
    plan = plan_packs(lengths, PackingSection(sequence_len=2048, sample_packing=True))
    dealt = deal_evenly(plan, attention_cost(plan, lengths), micro_batch_size=1, accumulation=4, processes=8)
    found = [shares(attention_cost(each, lengths), 1, 4, 8) for each in (plan, dealt)]
    ratios = [float((each.max(axis=1) / each.mean(axis=1)).mean()) for each in found]
    assert ratios[0] > 1.3
    assert ratios[1] < 1.06


@pytest.mark.parametrize("strategy", ["bfd", "wrapped"])
@given(LENGTHS, st.integers(1, 7), st.integers(0, 3), st.integers(1, 5))
def test_rows_that_are_exchanged_between_steps_are_all_trained_once(
    strategy: str, lengths: list[int], size: int, epoch: int, window: int
) -> None:
    cfg = PackingSection.model_validate({"sequence_len": 30, "sample_packing": True, "packing_strategy": strategy})
    plan = plan_packs(np.array(lengths), cfg, epoch=epoch)
    cost = attention_cost(plan, np.array(lengths))
    given = {"rows_per_step": size, "seed": 1, "window": window}
    alike = steps_alike(plan, cost, epoch=epoch, **given)
    check_plan(alike, lengths)
    before, after = ([str(each.row(row).tolist()) for row in range(len(each))] for each in (plan, alike))
    whole = len(plan) // size * size
    assert after[whole:] == before[whole:], "the last step keeps its rows"
    for first in range(0, whole, window * size):
        assert sorted(after[first : first + window * size]) == sorted(before[first : first + window * size])
    again = steps_alike(plan, cost, epoch=epoch, **given)
    assert again.samples.tolist() == alike.samples.tolist()
    costs = [attention_cost(each, np.array(lengths))[:whole].reshape(-1, size).max(axis=1) for each in (plan, alike)]
    assert costs[1].sum() <= costs[0].sum(), "with one row each, every process waits for the costliest"


def test_many_processes_with_a_row_each_wait_less_for_the_costliest() -> None:
    lengths = np.random.default_rng(0).lognormal(5.5, 0.8, 60_000).astype(int).clip(8, 2048)
    plan = plan_packs(lengths, PackingSection(sequence_len=2048, sample_packing=True))
    alike = steps_alike(plan, attention_cost(plan, lengths), rows_per_step=64, seed=0, epoch=0)
    found = [shares(attention_cost(each, lengths), 1, 1, 64) for each in (plan, alike)]
    ratios = [float((each.max(axis=1) / each.mean(axis=1)).mean()) for each in found]
    assert ratios[0] > 3
    assert ratios[1] < 1.25


def test_the_example_of_the_docstring() -> None:
    plan = plan_packs(np.array([9, 1, 2, 8, 7, 1]), PackingSection(sequence_len=9), shuffle=False)
    cost = np.array([9, 1, 2, 8, 7, 1])
    dealt = deal_evenly(plan, cost, micro_batch_size=1, accumulation=3, processes=2)
    assert cost[dealt.samples].tolist() == [9, 8, 2, 7, 1, 1]


def test_attention_costs_the_square_of_a_length() -> None:
    plan = plan_packs(np.array([5, 3, 4]), PackingSection(sequence_len=8, sample_packing=True), shuffle=False)
    assert attention_cost(plan, np.array([5, 3, 4])).tolist() == [34, 16]
    wrapped = PackingSection(sequence_len=8, sample_packing=True, packing_strategy="wrapped")
    plan = plan_packs(np.array([5, 4, 3]), wrapped, shuffle=False)
    assert attention_cost(plan, np.array([5, 4, 3])).tolist() == [25 + 9, 1 + 9]
    assert attention_cost(plan_packs(np.array([], dtype=int), wrapped), np.array([])).tolist() == []
