"""Who has which tokens, what travels, and what is computed: with no other rank at hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_kernels.context_parallel import METHODS, ContextLayout, contiguous, gather, split_packed, take, zigzag
from sft_kernels.context_parallel.plan import Block, Step, plan_ring
from sft_kernels.context_parallel.ulysses import check_heads
from sft_kernels.packing import cu_seqlens_from_lengths, document_ids_from_cu_seqlens

rows = st.lists(st.integers(0, 12), max_size=6)
ranks = st.integers(1, 5)
windows = st.tuples(st.integers(-1, 9), st.integers(-1, 9))


def layout_of(lengths: list[int], ranks: int, method: str = "ring") -> ContextLayout:
    return METHODS[method](cu_seqlens_from_lengths(lengths), ranks)


def mask_of(lengths: list[int], left: int, right: int) -> torch.Tensor:
    """Who sees whom, pair by pair."""
    documents = document_ids_from_cu_seqlens(cu_seqlens_from_lengths(lengths))
    place = torch.arange(len(documents))
    distance = place[None] - place[:, None]
    seen = documents[:, None] == documents[None]
    return seen & ((left < 0) | (distance >= -left)) & ((right < 0) | (distance <= right))


def add_block(times: torch.Tensor, block: Block, queries: torch.Tensor, keys: torch.Tensor) -> None:
    """Counts the pairs that a kernel computes of a block: aligned at its bottom right, as `flash_attn_varlen_func`."""
    q, k = queries[block.queries], keys[block.keys]
    own = torch.arange(len(q))[:, None] + len(k) - len(q)
    key = torch.arange(len(k))[None]
    seen = (block.seen_left < 0) | (key >= own - block.seen_left)
    seen &= (block.seen_right < 0) | (key <= own + block.seen_right)
    assert bool(seen.any(1).all()), "a query without a key would have no lse"
    times[q[:, None], k[None]] += seen


def add_step(times: torch.Tensor, layout: ContextLayout, rank: int, step: Step, window: tuple[int, int]) -> None:
    """Counts a step's pairs, with the keys that its source sends."""
    tokens = torch.arange(layout.total)
    sent = next(each.send for each in plan_ring(layout, step.source, *window).steps if each.to == rank)
    theirs = take(tokens, layout, step.source)
    came = torch.cat([theirs[part] for part in sent]) if sent else tokens[:0]
    assert len(came) == step.received
    for block in step.blocks:
        add_block(times, block, take(tokens, layout, rank), came)


@settings(max_examples=150, deadline=None)
@given(rows, ranks, windows, st.sampled_from(sorted(METHODS)))
def test_blocks_of_all_ranks_cover_each_visible_pair_once(
    lengths: list[int], ranks: int, window: tuple[int, int], method: str
) -> None:
    layout = layout_of(lengths, ranks, method)
    times = torch.zeros(layout.total, layout.total, dtype=torch.int64)
    for rank in range(ranks):
        own, plan = take(torch.arange(layout.total), layout, rank), plan_ring(layout, rank, *window)
        first = 0
        for length in plan.segments:
            rows = slice(first, first + length)
            add_block(times, Block(rows, rows, *window), own, own)
            first += length
        assert first == len(own)
        for block in plan.own:
            add_block(times, block, own, own)
        for step in plan.steps:
            add_step(times, layout, rank, step, window)
    assert torch.equal(times, mask_of(lengths, *window).to(torch.int64))


@settings(deadline=None)
@given(rows, ranks, st.sampled_from(sorted(METHODS)))
def test_gather_undoes_take_and_ranks_differ_by_a_token_a_chunk(lengths: list[int], ranks: int, method: str) -> None:
    layout = layout_of(lengths, ranks, method)
    row = torch.arange(layout.total)
    parts = [take(row, layout, rank) for rank in range(ranks)]
    assert torch.equal(gather(parts, layout), row)
    counts = [layout.count(rank) for rank in range(ranks)]
    assert [len(part) for part in parts] == counts
    assert max(counts) - min(counts) <= 2


@settings(deadline=None)
@given(rows, ranks)
def test_no_trained_token_is_lost_at_a_cut(lengths: list[int], ranks: int) -> None:
    """Every label but the first of a document is predicted by the rank that has the token before it."""
    layout = layout_of(lengths, ranks)
    tokens = torch.arange(layout.total)
    positions = torch.cat([torch.arange(n) for n in lengths]) if lengths else tokens
    slices = [split_packed(tokens, tokens, positions, layout, rank) for rank in range(ranks)]
    targets = gather([each.targets for each in slices], layout)
    follows = torch.zeros_like(tokens, dtype=torch.bool)
    follows[:-1] = positions[1:] > 0
    assert torch.equal(targets, torch.where(follows, tokens + 1, -100))
    for each in slices:
        assert torch.equal(each.position_ids, positions[each.input_ids])


def test_zigzag_evens_out_the_causal_work_of_one_document() -> None:
    work = [int((take(torch.arange(6400), zigzag([0, 6400], 4), rank) + 1).sum()) for rank in range(4)]
    assert max(work) == min(work)
    uneven = [int((take(torch.arange(6400), contiguous([0, 6400], 4), rank) + 1).sum()) for rank in range(4)]
    assert max(uneven) > 6 * min(uneven)


def test_documents_within_a_chunk_and_keys_out_of_the_window_do_not_travel() -> None:
    short = layout_of([25] * 8, 4)
    assert all(step.received == 0 for rank in range(4) for step in plan_ring(short, rank, -1, 0).steps)
    long = layout_of([200], 4)
    hidden, seen = (
        sum(step.received for rank in range(4) for step in plan_ring(long, rank, left, 0).steps) for left in (9, -1)
    )
    assert (hidden, seen) == (6 * 9, 25 * (6 + 5 + 4 + 3))


def test_what_does_not_fit_is_refused_with_its_number() -> None:
    with pytest.raises(ValueError, match="6 query heads do not divide among 4 ranks"):
        check_heads(6, 2, 4)
    with pytest.raises(ValueError, match="6 key heads neither divide among 4 ranks"):
        check_heads(12, 6, 4)
    check_heads(8, 2, 4)
    layout = layout_of([5, 4], 2)
    with pytest.raises(ValueError, match="dimension -1 has 8 entries and the row 9 tokens"):
        take(torch.arange(8), layout, 0)
    with pytest.raises(ValueError, match=r"parts have \[9\] tokens and the ranks \[5, 4\]"):
        gather([torch.arange(9)], layout)
    with pytest.raises(ValueError, match="ranks is 0"):
        zigzag([0, 4], 0)
    with pytest.raises(ValueError, match="never decrease"):
        contiguous([0, 4, 2], 2)
