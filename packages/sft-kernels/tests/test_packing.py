"""The packing helpers against definitions written token by token, and against one another."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sft_kernels import (
    cu_seqlens_from_lengths,
    cu_seqlens_from_position_ids,
    document_causal_mask,
    document_ids_from_cu_seqlens,
    max_seqlen,
    position_ids_from_cu_seqlens,
    validate_cu_seqlens,
)

document_lengths = st.lists(st.integers(0, 9), max_size=7)
rows_of_documents = st.integers(1, 24).flatmap(
    lambda width: st.lists(st.lists(st.integers(1, width), min_size=1, max_size=8), min_size=1, max_size=4).map(
        lambda rows: [fill(row, width) for row in rows]
    )
)


def fill(lengths: list[int], width: int) -> list[int]:
    """Cut or extend document lengths so that they fill a row exactly."""
    row: list[int] = []
    for length in lengths:
        row.append(min(length, width - sum(row)))
    return [length for length in [*row, width - sum(row)] if length]


def cu(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


@given(document_lengths)
def test_cumulative_lengths_of_a_list_and_of_a_tensor_are_the_running_sums(lengths):
    expected = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    for given_lengths in (lengths, tuple(lengths), torch.tensor(lengths, dtype=torch.int64)):
        result = cu_seqlens_from_lengths(given_lengths)
        assert result.dtype == torch.int32
        assert result.is_contiguous()
        assert result.tolist() == expected
        validate_cu_seqlens(result, sum(lengths))


@given(document_lengths)
def test_document_and_position_ids_count_tokens_document_by_document(lengths):
    boundaries = cu_seqlens_from_lengths(lengths)
    expected_documents = [d for d, length in enumerate(lengths) for _ in range(length)]
    expected_positions = [p for length in lengths for p in range(length)]
    for total in (None, sum(lengths)):
        documents = document_ids_from_cu_seqlens(boundaries, total)
        positions = position_ids_from_cu_seqlens(boundaries, total)
        assert documents.tolist() == expected_documents
        assert positions.tolist() == expected_positions
        assert positions.dtype == documents.dtype == torch.int64


@given(document_lengths)
def test_lengths_survive_the_round_trip_through_document_ids(lengths):
    documents = document_ids_from_cu_seqlens(cu_seqlens_from_lengths(lengths))
    assert torch.bincount(documents, minlength=len(lengths)).tolist() == lengths


@given(rows_of_documents)
def test_boundaries_survive_the_round_trip_through_position_ids(rows):
    boundaries = cu_seqlens_from_lengths([length for row in rows for length in row])
    position_ids = position_ids_from_cu_seqlens(boundaries).view(len(rows), -1)
    recovered = cu_seqlens_from_position_ids(position_ids)
    assert recovered.dtype == torch.int32
    assert recovered.tolist() == boundaries.tolist()


def test_a_row_that_continues_a_document_still_starts_a_new_one():
    position_ids = torch.tensor([[0, 1, 2, 0, 1], [5, 6, 0, 1, 2]])
    assert cu_seqlens_from_position_ids(position_ids).tolist() == [0, 3, 5, 7, 10]


def test_every_kind_of_break_starts_a_document():
    gap, repeat, back = [0, 1, 5, 6], [3, 3, 4, 4], [9, 8, 7, 6]
    position_ids = torch.tensor([gap, repeat, back])
    assert cu_seqlens_from_position_ids(position_ids).tolist() == [0, 2, 4, 5, 7, 8, 9, 10, 11, 12]


def test_position_ids_need_not_be_contiguous_in_memory():
    wide = torch.tensor([[0, 7, 1, 7, 0, 7], [0, 7, 0, 7, 1, 7]])
    assert cu_seqlens_from_position_ids(wide[:, ::2]).tolist() == [0, 2, 3, 4, 6]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_an_empty_batch_has_no_documents(shape):
    assert cu_seqlens_from_position_ids(torch.zeros(shape, dtype=torch.int64)).tolist() == [0]


@given(document_lengths)
def test_the_longest_document_is_the_maximum(lengths):
    assert max_seqlen(cu_seqlens_from_lengths(lengths)) == max(lengths, default=0)


@given(document_lengths)
def test_the_mask_lets_a_token_see_its_own_documents_past(lengths):
    mask = document_causal_mask(cu_seqlens_from_lengths(lengths))
    documents = [d for d, length in enumerate(lengths) for _ in range(length)]
    total = len(documents)
    expected = [[documents[i] == documents[j] and j <= i for j in range(total)] for i in range(total)]
    assert mask.dtype == torch.bool
    assert mask.shape == (total, total)
    assert mask.tolist() == expected


def test_tokens_past_the_last_boundary_are_one_more_document():
    boundaries = cu(0, 2, 2, 3)
    assert document_ids_from_cu_seqlens(boundaries, 6).tolist() == [0, 0, 2, 3, 3, 3]
    assert position_ids_from_cu_seqlens(boundaries, 6).tolist() == [0, 1, 0, 0, 1, 2]
    assert document_causal_mask(boundaries, 6)[5].tolist() == [False, False, False, True, True, True]


@given(document_lengths, st.integers(-20, 20))
def test_validation_accepts_exactly_the_right_total(lengths, off):
    boundaries = cu_seqlens_from_lengths(lengths)
    if off == 0:
        validate_cu_seqlens(boundaries, sum(lengths))
    else:
        with pytest.raises(ValueError, match=f"ends at {sum(lengths)} but there are {sum(lengths) + off} tokens"):
            validate_cu_seqlens(boundaries, sum(lengths) + off)


@pytest.mark.parametrize(
    ("boundaries", "message"),
    [
        (cu(1, 3), r"cu_q\[0\] is 1, expected 0; prepend"),
        (cu(0, 5, 3), r"cu_q decreases at index 2, from 5 to 3; pass cumulative lengths"),
        (cu(), r"cu_q has shape \[0\], expected \[documents \+ 1\]"),
        (cu(0, 2)[None], r"cu_q has shape \[1, 2\], expected"),
        (torch.tensor(0, dtype=torch.int32), r"cu_q has shape \[\], expected"),
        (torch.tensor([0, 3]), r"cu_q is torch.int64, kernels read int32; pass cu_q.to\(torch.int32\)"),
        (torch.tensor([0.0, 3.0]), "cu_q is torch.float32"),
    ],
)
def test_validation_names_the_value_and_the_fix(boundaries, message):
    with pytest.raises(ValueError, match=message):
        validate_cu_seqlens(boundaries, 3, name="cu_q")


@pytest.mark.parametrize(
    "helper",
    [document_causal_mask, document_ids_from_cu_seqlens, max_seqlen, position_ids_from_cu_seqlens],
)
def test_helpers_refuse_what_kernels_would_misread(helper):
    with pytest.raises(ValueError, match=r"cu_seqlens is torch\.int64, kernels read int32"):
        helper(torch.tensor([0, 3]))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3, -1], r"lengths\[1\] is -1; a document has at least 0 tokens"),
        ([2**31 - 1, 1], r"lengths sum to 2147483648, over the int32 limit"),
        (torch.tensor([[1, 2]]), r"lengths has shape \[1, 2\], expected \[documents\]"),
        (torch.tensor([1.0]), "lengths is torch.float32, expected integers"),
        (torch.tensor([True]), "lengths is torch.bool, expected integers"),
    ],
)
def test_bad_lengths_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        cu_seqlens_from_lengths(lengths)


@pytest.mark.parametrize(
    ("position_ids", "message"),
    [
        (torch.arange(3), r"position_ids has shape \[3\], expected \[batch, sequence\]"),
        (torch.zeros(3, 1, 4, dtype=torch.int64), r"shape \[3, 1, 4\].* multimodal rope"),
        (torch.zeros(1, 4), "position_ids is torch.float32, expected integers"),
    ],
)
def test_bad_position_ids_are_refused(position_ids, message):
    with pytest.raises(ValueError, match=message):
        cu_seqlens_from_position_ids(position_ids)


def test_helpers_that_promise_no_host_sync_run_on_tensors_without_values():
    # A meta tensor has a shape and no data, so anything that reads a value on the host raises.
    boundaries = cu_seqlens_from_lengths(torch.zeros(4, dtype=torch.int64, device="meta"))
    assert boundaries.shape == (5,)
    assert position_ids_from_cu_seqlens(boundaries, 12).shape == (12,)
    assert document_ids_from_cu_seqlens(boundaries, 12).shape == (12,)
    assert document_causal_mask(boundaries, 12).shape == (12, 12)
    with pytest.raises((RuntimeError, NotImplementedError)):
        position_ids_from_cu_seqlens(boundaries)
