"""Plans that cut samples: where they cut, what is lost, and the rows made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sft_data import collate, inspect_rows, pack_row, plan_packs, prepare
from sft_data.pack import lost_labels
from sft_schema import IGNORE_INDEX
from sft_schema.check import check_batch, check_plan, check_row
from sft_schema.config import PackingSection
from sft_schema.record import RowOrigin, TokenizedSample

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)
WRAPPED = PackingSection(sequence_len=30, sample_packing=True, packing_strategy="wrapped")
SPLIT = PackingSection(sequence_len=30, sample_packing=True, packing_strategy="bfd_split")


def make_samples(lengths: list[int], seed: int = 0) -> list[TokenizedSample]:
    random = np.random.default_rng(seed)
    samples: list[TokenizedSample] = []
    for index, length in enumerate(lengths):
        ids = np.arange(length, dtype=np.int32) + 1000 * index
        labels = np.where(random.random(length) < 0.5, ids, IGNORE_INDEX)
        samples.append(TokenizedSample(ids, labels, RowOrigin("d", index, "")))
    return samples


def trained(labels: list[int]) -> int:
    return sum(label != IGNORE_INDEX for label in labels)


@given(LENGTHS, st.booleans(), st.integers(0, 3))
def test_wrapped_fills_every_row_but_the_last(lengths: list[int], shuffle: bool, epoch: int) -> None:
    plan = plan_packs(np.array(lengths), WRAPPED, epoch=epoch, shuffle=shuffle)
    check_plan(plan, lengths)
    held = [int((row[:, 2] - row[:, 1]).sum()) for row in (plan.row(index) for index in range(len(plan)))]
    assert held[:-1] == [30] * (len(held) - 1)
    assert len(plan) == -(-sum(lengths) // 30)
    assert plan.cuts <= len(plan) - 1, "a row begins inside one sample at most"


def test_wrapped_without_shuffling_is_the_data_end_to_end() -> None:
    plan = plan_packs(np.array([20, 25, 15, 1]), WRAPPED, shuffle=False)
    assert [plan.row(row).tolist() for row in range(len(plan))] == [
        [[0, 0, 20], [1, 0, 10]],
        [[1, 10, 25], [2, 0, 15]],
        [[3, 0, 1]],
    ]
    assert plan.cuts == 1


@given(st.lists(st.integers(1, 200), min_size=1, max_size=30), st.integers(0, 3))
def test_bfd_split_cuts_what_is_longer_than_a_row_and_nothing_else(lengths: list[int], epoch: int) -> None:
    plan = plan_packs(np.array(lengths), SPLIT, epoch=epoch)
    check_plan(plan, lengths)
    assert plan.cuts == sum((length - 1) // 30 for length in lengths)
    if max(lengths) <= 30:
        assert plan.pieces is None
        bfd = SPLIT.model_copy(update={"packing_strategy": "bfd"})
        assert np.array_equal(plan.samples, plan_packs(np.array(lengths), bfd, epoch=epoch).samples)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=20), st.sampled_from([WRAPPED, SPLIT]), st.integers(0, 9))
def test_rows_of_pieces_keep_every_token_and_count_the_labels_that_are_lost(
    lengths: list[int], cfg: PackingSection, seed: int
) -> None:
    lengths = [min(length, 30) for length in lengths] if cfg is WRAPPED else lengths
    samples = make_samples(lengths, seed)
    plan = plan_packs(np.array(lengths), cfg)
    rows = [pack_row(samples, plan.row(index)) for index in range(len(plan))]
    for row in rows:
        check_row(row)
    batch = collate(rows)
    check_batch(batch)
    assert sorted(batch.input_ids[0].tolist()) == sorted(
        token for sample in samples for token in sample.input_ids.tolist()
    )
    alone = sum(trained(sample.labels.tolist()[1:]) for sample in samples)
    assert alone - trained(batch.labels[0].tolist()) == lost_labels(samples, plan) <= plan.cuts


def test_a_plan_of_whole_samples_loses_nothing() -> None:
    samples = make_samples([20, 25, 15])
    plan = plan_packs(np.array([20, 25, 15]), PackingSection(sequence_len=30, sample_packing=True))
    assert (plan.cuts, lost_labels(samples, plan)) == (0, 0)


def test_inspection_shows_the_pieces_that_are_trained(workspace: Any) -> None:
    """As the trainer gets them: the rest of a sample begins with a token that is not trained."""
    chats = [[("user", "first question"), ("assistant", f"first answer {number}")] for number in range(6)]
    settings = {"sequence_len": 40, "sample_packing": True, "packing_strategy": "wrapped"}
    cfg = workspace.config(workspace.chats("a.jsonl", *chats), **settings)
    prepared = prepare(cfg)
    plan = plan_packs(prepared.train.lengths, cfg)
    assert plan.cuts > 0
    rows = inspect_rows(cfg, count=len(plan))
    assert len(rows) == len(plan)
    for index, shown in enumerate(rows):
        row = pack_row(prepared.train, plan.row(index))
        assert [token.id for token in shown.tokens] == row.input_ids.tolist()
        assert [token.trained for token in shown.tokens] == (row.labels != IGNORE_INDEX).tolist()
