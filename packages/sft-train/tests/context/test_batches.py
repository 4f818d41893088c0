"""Parts of a batch: together they are the batch, and no target is lost where the row is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_kernels.context_parallel import METHODS, ContextLayout, gather
from sft_schema import IGNORE_INDEX
from sft_schema.record import PackedRow
from sft_train.context.batches import ContextBatches, part_of
from sft_train.context.mesh import ContextMesh
from sft_train.trainer.rows import to_tensors
from sft_train.trainer.throughput import tokens_of


def row_of(lengths: list[int], *, seed: int = 0, weighed: bool = False, trained: bool = True) -> PackedRow:
    """A row of samples with random tokens, about half of them trained."""
    random, total = np.random.default_rng(seed), sum(lengths)
    ends = np.cumsum([0, *lengths]).astype(np.int32)
    ids = random.integers(5, 90, total)
    labels = np.where(random.random(total) < (0.5 if trained else 0), ids, IGNORE_INDEX)
    labels[ends[:-1]] = IGNORE_INDEX
    weights = random.random(total).astype(np.float32) if weighed else None
    return PackedRow(ids, labels, ends, np.arange(len(lengths)), weights=weights)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=6),
    st.integers(2, 4),
    st.sampled_from(sorted(METHODS)),
    st.booleans(),
)
def test_parts_have_each_token_and_each_target_once(lengths: list[int], size: int, method: str, weighed: bool) -> None:
    whole = to_tensors([row_of(lengths, weighed=weighed)])
    parts = [part_of(whole, method, rank, size) for rank in range(size)]
    layout = parts[0]["layout"]
    assert all(part["layout"] == layout and part["input_ids"].numel() for part in parts)
    total = sum(lengths)
    for name in ("input_ids", "position_ids"):
        assert torch.equal(gather([part[name] for part in parts], layout)[:, :total], whole[name])
    places = [gather_places(layout, rank)[part["predict_at"]] for rank, part in enumerate(parts)]
    order = torch.cat(places).argsort()
    assert torch.equal(torch.cat(places)[order], whole["predict_at"])
    for name in ("targets", "target_weights") if weighed else ("targets",):
        assert torch.equal(torch.cat([part[name] for part in parts])[order], whole[name])
    assert sum(map(tokens_of, parts)) == tokens_of(whole)


def gather_places(layout: ContextLayout, rank: int) -> torch.Tensor:
    return torch.cat([torch.arange(begin, end) for begin, end in layout.spans(rank)])


def test_a_row_shorter_than_its_parts_is_filled_up_with_a_sample_that_trains_nothing() -> None:
    whole = to_tensors([row_of([2], trained=False)])
    parts = [part_of(whole, "ring", rank, 3) for rank in range(3)]
    assert [part["input_ids"].numel() for part in parts] == [2, 2, 2]
    assert parts[0]["layout"].documents == (0, 2, 6)
    assert [part["targets"].numel() for part in parts] == [0, 0, 0]
    assert [tokens_of(part) for part in parts] == [0, 0, 0]


def test_tokens_count_where_another_part_has_the_targets() -> None:
    row = row_of([8])
    row.labels[:] = IGNORE_INDEX
    row.labels[7] = 5
    first, second = (ContextBatches(to_tensors, ContextMesh(0, 1, rank, 2, "ulysses"))([row]) for rank in range(2))
    assert (first["targets"].numel(), second["targets"].numel()) == (0, 1)
    assert (tokens_of(first), tokens_of(second)) == (4, 4)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_target_at_the_end_of_a_part_stays_with_the_token_before_it(method: str) -> None:
    row = row_of([8])
    row.labels[1:] = row.input_ids[1:]
    parts = [part_of(to_tensors([row]), method, rank, 2) for rank in range(2)]
    assert sum(part["targets"].numel() for part in parts) == 7
    for rank, part in enumerate(parts):
        places = gather_places(part["layout"], rank)[part["predict_at"]]
        assert part["targets"].tolist() == row.input_ids[places + 1].tolist()
