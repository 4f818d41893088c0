from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from sft_data import plan_packs, prepare
from sft_schema import SftConfig
from sft_schema.check import check_row
from sft_schema.config import PackingSection
from sft_train.trainer.rows import EpochRows, StoredRows, held_out_batches, to_tensors

MakeConfig = Callable[..., SftConfig]


def flat(batches: Iterator[list[Any]]) -> list[list[tuple[int, ...]]]:
    return [[tuple(row.tolist()) for row in batch] for batch in batches]


LENGTHS = np.array([5, 9, 3, 7, 7, 2, 8, 4, 6, 6, 1, 9, 5], dtype=np.int64)


@pytest.mark.parametrize("packing", [True, False])
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 13))
def test_steps_hold_the_same_rows_however_work_is_divided(
    packing: bool, micro: int, accumulation: int, processes: int, epoch: int, samples: int
) -> None:
    """Rows of step s are rows s*n to (s+1)*n of the plan, n being micro x accumulation x processes."""
    processes += 1
    cfg = PackingSection(sequence_len=10, sample_packing=packing)
    shares = []
    for process in range(processes):
        rows = EpochRows(LENGTHS[:samples], cfg, micro_batch_size=micro, process=process, processes=processes)
        rows.start_epoch(epoch)
        shares.append(flat(iter(rows)))
        assert all(shares[-1]), "a batch of no rows cannot be collated"
        plan = rows.plan
    assert len({len(share) for share in shares}) == 1, "processes must do the same number of passes"
    per_step = micro * accumulation * processes
    wanted = [tuple(plan.row(row).tolist()) for row in range(len(plan))]
    for step in range(-(-len(wanted) // per_step)):
        passes = [p for share in shares for p in share[step * accumulation : (step + 1) * accumulation]]
        found = [row for each in passes for row in each if row]
        assert sorted(found) == sorted(wanted[step * per_step : (step + 1) * per_step])


def test_epochs_differ_and_an_epoch_is_always_the_same() -> None:
    cfg = PackingSection(sequence_len=10, sample_packing=True, seed=3)
    one, two = (EpochRows(LENGTHS, cfg, micro_batch_size=1) for _ in range(2))
    first = flat(iter(one))
    one.start_epoch(1)
    second = flat(iter(one))
    two.start_epoch(1)
    assert first != second
    assert flat(iter(two)) == second
    one.start_epoch(0)
    assert flat(iter(one)) == first
    assert len(one) == len(first) == len(second)


def test_every_sample_of_an_epoch_is_trained_once() -> None:
    rows = EpochRows(LENGTHS, PackingSection(sequence_len=10, sample_packing=True), micro_batch_size=2)
    assert sorted(i for batch in flat(iter(rows)) for row in batch for i in row) == list(range(len(LENGTHS)))


STRATEGIES = ["bfd", "bfd_split", "ffd", "spfhp", "sequential", "wrapped"]


def packing(**values: Any) -> PackingSection:
    return PackingSection.model_validate({"sequence_len": 10, "sample_packing": True} | values)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_reaches_the_rows_that_are_trained(strategy: str) -> None:
    cfg = packing(packing_strategy=strategy)
    rows = EpochRows(LENGTHS, cfg, micro_batch_size=2)
    for epoch in range(3):
        rows.start_epoch(epoch)
        plan = plan_packs(LENGTHS, cfg, epoch=epoch)
        assert [str(row.tolist()) for batch in rows for row in batch] == [
            str(plan.row(row).tolist()) for row in range(len(plan))
        ]


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(st.integers(1, 2), st.integers(1, 2), st.integers(2, 3), st.integers(0, 3))
def test_balanced_steps_hold_the_rows_that_they_held(
    strategy: str, micro: int, accumulation: int, processes: int, epoch: int
) -> None:
    lengths, cfg = np.tile(LENGTHS, 3), packing(packing_strategy=strategy, packing_balance="attention")
    per_step = micro * accumulation * processes
    found: list[list[list[str]]] = []
    for balanced in (False, True):
        steps: list[list[str]] = []
        for process in range(processes):
            rows = EpochRows(lengths, cfg, micro_batch_size=micro, process=process, processes=processes)
            if balanced:
                rows.balance(accumulation)
            rows.start_epoch(epoch)
            batches = list(rows)
            for step in range(len(rows.plan) // per_step):
                held = batches[step * accumulation : (step + 1) * accumulation]
                steps += [[]] * (step + 1 - len(steps))
                steps[step] = steps[step] + [str(row.tolist()) for batch in held for row in batch]
        found.append([sorted(step) for step in steps])
    assert found[0] == found[1]


@given(
    st.integers(0, 3), st.sampled_from([(1, 1, 6), (1, 6, 1), (2, 3, 1), (1, 3, 2), (1, 2, 3), (3, 1, 2), (3, 2, 1)])
)
def test_steps_of_like_rows_are_the_same_for_any_division(epoch: int, division: tuple[int, int, int]) -> None:
    """Six rows make a step, whoever computes them."""
    lengths, (processes, accumulation, micro) = np.tile(LENGTHS, 5), division
    cfg = packing(packing_balance="steps")
    held: list[list[str]] = []
    for process in range(processes):
        rows = EpochRows(lengths, cfg, micro_batch_size=micro, process=process, processes=processes)
        rows.balance(accumulation)
        rows.start_epoch(epoch)
        for step in range(rows.steps(accumulation)):
            held += [[]] * (step + 1 - len(held))
            count = min(accumulation, len(rows) - step * accumulation)
            batches = rows.of_step(step, accumulation, count)
            held[step] = held[step] + [str(row.tolist()) for batch in batches for row in batch if len(row)]
    alone = EpochRows(lengths, cfg, micro_batch_size=6)
    alone.balance(1)
    alone.start_epoch(epoch)
    wanted = [[str(row.tolist()) for row in batch] for batch in alone]
    assert [sorted(step) for step in held] == [sorted(step) for step in wanted]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_held_out_samples_are_never_cut(strategy: str) -> None:
    found = held_out_batches(LENGTHS, packing(packing_strategy=strategy), rows=2, process=0, processes=1)
    assert sorted(sample for batch in flat(found) for row in batch for sample in row) == list(range(len(LENGTHS)))


def test_unshuffled_rows_follow_the_data_in_every_epoch() -> None:
    rows = EpochRows(LENGTHS, PackingSection(sequence_len=10), micro_batch_size=1, shuffle=False)
    for epoch in (0, 1):
        rows.start_epoch(epoch)
        assert [i for batch in flat(iter(rows)) for row in batch for i in row] == list(range(len(LENGTHS)))


@given(st.integers(1, 4), st.integers(1, 3))
def test_held_out_rows_are_shared_out_completely(rows: int, processes: int) -> None:
    cfg = PackingSection(sequence_len=10, sample_packing=True)
    shares = [
        flat(held_out_batches(LENGTHS, cfg, rows=rows, process=process, processes=processes))
        for process in range(processes)
    ]
    seen = sorted(i for share in shares for batch in share for row in batch for i in row)
    assert seen == list(range(len(LENGTHS)))
    assert max(len(batch) for share in shares for batch in share) <= rows


def test_blank_row_is_a_row_without_anything_to_train(config: MakeConfig) -> None:
    store = prepare(config()).train
    blank = StoredRows(store, 1)[np.empty(0, dtype=np.int64)]
    batch = to_tensors([blank])
    assert batch["targets"].numel() == 0
    assert batch["input_ids"].shape == (1, 2)


def test_data_loader_makes_batches_of_what_the_store_holds(config: MakeConfig) -> None:
    cfg = config(micro_batch_size="2")
    store = prepare(cfg).train
    rows = EpochRows(store.lengths, cfg, micro_batch_size=2)
    for batch in DataLoader(StoredRows(store, len(rows.plan)), batch_sampler=rows, collate_fn=list):
        for each in batch:
            check_row(each)
            samples = [store[int(index)].input_ids for index in each.samples]
            assert np.array_equal(each.input_ids, np.concatenate(samples))
