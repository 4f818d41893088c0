"""Packing plans and the rows made from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_data import collate, pack_row, plan_packs
from sft_schema import IGNORE_INDEX, ContractError
from sft_schema.check import check_batch, check_plan, check_row
from sft_schema.config import PackingSection
from sft_schema.record import RowOrigin, TokenizedSample

LENGTHS = st.lists(st.integers(1, 32), max_size=60)


@given(LENGTHS, st.booleans(), st.booleans(), st.integers(0, 3), st.integers(0, 5))
def test_every_sample_stands_in_one_row_that_fits(
    lengths: list[int], packing: bool, shuffle: bool, epoch: int, seed: int
) -> None:
    cfg = PackingSection(sequence_len=40, sample_packing=packing, seed=seed)
    plan = plan_packs(np.array(lengths), cfg, epoch=epoch, shuffle=shuffle)
    check_plan(plan, lengths)
    assert plan.tokens == sum(lengths)
    again = plan_packs(np.array(lengths), cfg, epoch=epoch, shuffle=shuffle)
    assert again.samples.tolist() == plan.samples.tolist()
    assert again.row_offsets.tolist() == plan.row_offsets.tolist()
    assert len(plan_packs(np.array(lengths), cfg, epoch=epoch + 1)) == len(plan)


def test_epochs_differ_and_unshuffled_order_follows_the_data() -> None:
    lengths = np.full(64, 7)
    cfg = PackingSection(sequence_len=21, sample_packing=True)
    first, second = (plan_packs(lengths, cfg, epoch=epoch).samples.tolist() for epoch in (0, 1))
    assert first != second
    assert plan_packs(lengths, cfg, shuffle=False).samples.tolist() == list(range(64))


def test_packing_beats_ninety_nine_percent_on_chat_like_lengths() -> None:
    lengths = np.random.default_rng(0).lognormal(5.5, 0.8, 20_000).astype(int).clip(8, 2048)
    plan = plan_packs(lengths, PackingSection(sequence_len=2048, sample_packing=True))
    assert plan.efficiency > 0.995


@pytest.mark.parametrize("length", [0, 41])
def test_a_sample_that_does_not_fit_is_refused(length: int) -> None:
    with pytest.raises(ContractError, match="do not fit rows of 40"):
        plan_packs(np.array([3, length]), PackingSection(sequence_len=40, sample_packing=True))


def make_samples(lengths: list[int]) -> list[TokenizedSample]:
    samples = []
    for index, length in enumerate(lengths):
        ids = np.arange(length, dtype=np.int32) + 100 * index
        samples.append(TokenizedSample(ids, np.where(ids % 3 == 0, ids, IGNORE_INDEX), RowOrigin("d", index, "")))
    return samples


@given(st.lists(st.integers(1, 32), min_size=1, max_size=30), st.integers(1, 4))
def test_batches_keep_every_token_and_every_boundary(lengths: list[int], rows_a_batch: int) -> None:
    samples = make_samples(lengths)
    plan = plan_packs(np.array(lengths), PackingSection(sequence_len=50, sample_packing=True))
    rows = [pack_row(samples, plan.row(index)) for index in range(len(plan))]
    seen: list[int] = []
    for row in rows:
        check_row(row)
    for start in range(0, len(rows), rows_a_batch):
        batch = collate(rows[start : start + rows_a_batch])
        check_batch(batch)
        seen.extend(batch.input_ids[0].tolist())
    assert sorted(seen) == sorted(int(token) for sample in samples for token in sample.input_ids)


def test_packing_does_not_write_into_the_samples() -> None:
    samples = make_samples([4])
    before = samples[0].labels.tolist()
    row = pack_row(samples, np.array([0]))
    assert row.labels[0] == IGNORE_INDEX != before[0]
    assert samples[0].labels.tolist() == before
