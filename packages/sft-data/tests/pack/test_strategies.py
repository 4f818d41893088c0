"""Every strategy against the loop over samples that its name stands for, and the promises of every plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_data import plan_packs
from sft_data.pack import best_fit_decreasing, first_fit_decreasing, next_fit, shortest_pack_first
from sft_schema import ContractError
from sft_schema.check import check_plan
from sft_schema.config import PackingSection
from sft_schema.record import PackPlan

LENGTHS = st.lists(st.integers(1, 32), max_size=60)
MOST = st.none() | st.integers(2, 5)
STRATEGIES = get_args(PackingSection.model_fields["packing_strategy"].annotation)
WHOLE = [name for name in STRATEGIES if name not in ("wrapped", "bfd_split")]
Rows = list[list[int]]
Choice = Callable[[list[int], list[int]], int]
"""Rows that still take a sample, and the room of all rows, to the row that gets it."""

CHOICES: dict[str, tuple[Callable[..., object], Choice]] = {
    "bfd": (best_fit_decreasing, lambda able, room: min(able, key=lambda row: room[row])),
    "ffd": (first_fit_decreasing, lambda able, room: able[0]),
    "spfhp": (shortest_pack_first, lambda able, room: max(able, key=lambda row: room[row])),
}


def textbook(lengths: list[int], capacity: int, most: int, choose: Choice) -> Rows:
    """The lengths in each row, placed one by one."""
    rows: Rows = []
    for length in lengths:
        room = [capacity - sum(row) for row in rows]
        able = [row for row in range(len(rows)) if room[row] >= length and len(rows[row]) < most]
        if able:
            rows[choose(able, room)].append(length)
        else:
            rows.append([length])
    return rows


def rows_of(placed: object, lengths: list[int]) -> Rows:
    """The lengths in each row of a placement, in their slots."""
    rows: list[dict[int, int]] = [{} for _ in range(placed.rows)]  # type: ignore[attr-defined]
    for row, slot, length in zip(placed.row.tolist(), placed.slot.tolist(), lengths, strict=True):  # type: ignore[attr-defined]
        rows[row][slot] = length
    assert all(sorted(row) == list(range(len(row))) for row in rows)
    return [[row[slot] for slot in sorted(row)] for row in rows]


def room_left(rows: Rows, capacity: int) -> list[int]:
    return sorted(capacity - sum(row) for row in rows)


@pytest.mark.parametrize("name", ["bfd", "spfhp"])
@given(LENGTHS, st.integers(32, 70))
def test_packing_by_room_leaves_the_room_of_the_textbook_loop(name: str, lengths: list[int], capacity: int) -> None:
    """Which of several rows with equal room takes a sample is open; what room there is in the end is not."""
    packer, choose = CHOICES[name]
    ordered = sorted(lengths, reverse=True)
    found = rows_of(packer(np.array(ordered, dtype=np.int64), capacity), ordered)
    assert room_left(found, capacity) == room_left(textbook(ordered, capacity, 99, choose), capacity)


@given(LENGTHS, st.integers(32, 70), st.integers(1, 5))
def test_first_fit_decreasing_gives_the_rows_of_the_textbook_loop(lengths: list[int], capacity: int, most: int) -> None:
    packer, choose = CHOICES["ffd"]
    ordered = sorted(lengths, reverse=True)
    found = rows_of(packer(np.array(ordered, dtype=np.int64), capacity, most), ordered)
    assert found == textbook(ordered, capacity, most, choose)


@given(LENGTHS, st.integers(32, 70), st.integers(1, 5))
def test_next_fit_looks_at_the_last_row_alone(lengths: list[int], capacity: int, most: int) -> None:
    rows: Rows = []
    for length in lengths:
        if not rows or sum(rows[-1]) + length > capacity or len(rows[-1]) == most:
            rows.append([])
        rows[-1].append(length)
    assert rows_of(next_fit(np.array(lengths, dtype=np.int64), capacity, most), lengths) == rows


def section(strategy: str, *, sequence_len: int = 40, most: int | None = None, seed: int = 42) -> PackingSection:
    values = {"sequence_len": sequence_len, "sample_packing": True, "seed": seed, "packing_strategy": strategy}
    return PackingSection.model_validate(values | {"max_samples_per_pack": most})


def same(one: PackPlan, two: PackPlan) -> bool:
    held = [plan.samples if plan.pieces is None else plan.pieces for plan in (one, two)]
    return np.array_equal(*held) and np.array_equal(one.row_offsets, two.row_offsets)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(LENGTHS, MOST, st.booleans(), st.integers(0, 3), st.integers(0, 5))
def test_a_plan_holds_every_token_once_and_is_the_same_when_made_again(
    strategy: str, lengths: list[int], most: int | None, shuffle: bool, epoch: int, seed: int
) -> None:
    cfg = section(strategy, most=None if strategy == "wrapped" else most, seed=seed)
    plan = plan_packs(np.array(lengths), cfg, epoch=epoch, shuffle=shuffle)
    check_plan(plan, lengths)
    assert plan.tokens == sum(lengths)
    assert same(plan, plan_packs(np.array(lengths), cfg, epoch=epoch, shuffle=shuffle))
    assert len(plan_packs(np.array(lengths), cfg, epoch=epoch + 1, shuffle=shuffle)) == len(plan)
    assert len(plan) >= -(-sum(lengths) // 40)
    if cfg.max_samples_per_pack:
        assert all(len(plan.row(row)) <= cfg.max_samples_per_pack for row in range(len(plan)))


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "ffd", "spfhp"])
@given(LENGTHS, st.integers(32, 70))
def test_at_most_one_row_is_no_more_than_half_full(strategy: str, lengths: list[int], capacity: int) -> None:
    """What any packing keeps that opens a row only when a sample fits nowhere; twice the lower bound follows."""
    plan = plan_packs(np.array(lengths), section(strategy, sequence_len=capacity))
    used = [sum(lengths[sample] for sample in plan.row(row)) for row in range(len(plan))]
    assert sum(2 * each <= capacity for each in used) <= 1


@pytest.mark.parametrize("strategy", WHOLE)
def test_epochs_differ_and_unshuffled_rows_follow_the_data(strategy: str) -> None:
    lengths, cfg = np.full(64, 7), section(strategy, sequence_len=21)
    assert not same(plan_packs(lengths, cfg), plan_packs(lengths, cfg, epoch=1))
    assert plan_packs(lengths, cfg, shuffle=False).samples.tolist() == list(range(64))


@given(LENGTHS, st.integers(0, 3))
def test_sequential_rows_hold_neighbours_in_every_epoch(lengths: list[int], epoch: int) -> None:
    plan = plan_packs(np.array(lengths), section("sequential"), epoch=epoch)
    rows = [plan.row(row).tolist() for row in range(len(plan))]
    assert all(row == list(range(row[0], row[0] + len(row))) for row in rows)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("length", [-1, 0, 41])
def test_a_sample_that_does_not_fit_is_refused_unless_it_is_split(strategy: str, length: int) -> None:
    if strategy == "bfd_split" and length > 0:
        check_plan(plan_packs(np.array([3, length]), section(strategy)), [3, length])
        return
    with pytest.raises(ContractError, match="do not fit rows of 40"):
        plan_packs(np.array([3, length]), section(strategy))


@pytest.mark.parametrize("strategy", WHOLE)
def test_numbers_of_rows_on_lengths_of_a_chat(strategy: str) -> None:
    """The decreasing ones within half a percent of the lower bound; next fit keeps the order and pays for it."""
    lengths = np.random.default_rng(0).lognormal(5.5, 0.8, 20_000).astype(int).clip(8, 2048)
    efficiency = plan_packs(lengths, section(strategy, sequence_len=2048)).efficiency
    assert 0.8 < efficiency < 0.95 if strategy == "sequential" else efficiency > 0.995
