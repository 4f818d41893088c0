"""Padding, blocks, labels and weights of packed documents, against definitions written token by token."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask

from sft_kernels import (
    block_table,
    cu_seqlens_from_attention_mask,
    cu_seqlens_from_document_ids,
    cu_seqlens_from_lengths,
    document_causal_mask,
    document_ids_from_cu_seqlens,
    document_mask_mod,
    packed_shift_labels,
    repad,
    sequence_weights,
    unpad,
)

lengths_of_documents = st.lists(st.integers(0, 9), max_size=7)
masks = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 1), min_size=width, max_size=width), min_size=1, max_size=4)
)


@settings(max_examples=30, deadline=None)
@given(masks)
def test_unpadding_keeps_the_tokens_and_repadding_puts_them_back(rows):
    mask = torch.tensor(rows)
    indices, cu_seqlens = cu_seqlens_from_attention_mask(mask)
    x = torch.arange(mask.numel() * 2, dtype=torch.float64).view(*mask.shape, 2) + 1
    tokens = unpad(x, indices)
    expected = [x[i, j] for i, row in enumerate(rows) for j, there in enumerate(row) if there]
    assert torch.equal(tokens, torch.stack(expected) if expected else torch.zeros(0, 2, dtype=x.dtype))
    assert cu_seqlens.diff().tolist() == [sum(row) for row in rows]
    assert torch.equal(repad(tokens, indices, *mask.shape), x * mask[..., None])


def test_unpadding_and_repadding_are_differentiable_twice():
    indices, _ = cu_seqlens_from_attention_mask(torch.tensor([[1, 1, 0], [0, 1, 1]]))
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: unpad(x, indices), x)
    assert torch.autograd.gradgradcheck(lambda x: unpad(x, indices) ** 2, x)
    assert torch.autograd.gradcheck(lambda tokens: repad(tokens, indices, 2, 3) ** 2, tokens)


@settings(max_examples=30, deadline=None)
@given(lengths_of_documents)
def test_document_ids_and_boundaries_say_the_same(lengths):
    filled = [length for length in lengths if length]
    cu_seqlens = cu_seqlens_from_lengths(filled)
    assert torch.equal(cu_seqlens_from_document_ids(document_ids_from_cu_seqlens(cu_seqlens)), cu_seqlens)


@settings(max_examples=30, deadline=None)
@given(lengths_of_documents, st.integers(1, 5))
def test_blocks_cover_every_token_once_and_cross_no_boundary(lengths, block):
    cu_seqlens, total = cu_seqlens_from_lengths(lengths), sum(lengths)
    table = block_table(cu_seqlens, total, block).tolist()
    assert len(table) == total // block + len(lengths)
    blocks = [(document, first) for document, first in table if document >= 0]
    assert table[len(blocks) :] == [[-1, 0]] * (len(table) - len(blocks))
    ends = [min(first + block, int(cu_seqlens[document + 1])) for document, first in blocks]
    covered = [token for (_, first), end in zip(blocks, ends, strict=True) for token in range(first, end)]
    assert covered == list(range(total))
    assert all(int(cu_seqlens[document]) <= first for document, first in blocks)


@settings(max_examples=30, deadline=None)
@given(lengths_of_documents)
def test_labels_move_within_their_document_only(lengths):
    documents = [[10 * i + j for j in range(length)] for i, length in enumerate(lengths)]
    labels = torch.tensor([label for document in documents for label in document], dtype=torch.int64)
    expected = [label for document in documents if document for label in [*document[1:], -100]]
    assert packed_shift_labels(labels, cu_seqlens_from_lengths(lengths)).tolist() == expected


@pytest.mark.parametrize("causal", [True, False])
def test_the_mask_of_flex_attention_is_the_dense_one(causal):
    cu_seqlens = cu_seqlens_from_lengths([3, 0, 2, 4])
    mask = create_mask(document_mask_mod(cu_seqlens, 11, causal=causal), 1, 1, 11, 11, device="cpu")[0, 0]
    dense = document_causal_mask(cu_seqlens, 11)
    assert torch.equal(mask, dense if causal else dense | dense.T)


@settings(max_examples=30, deadline=None)
@given(lengths_of_documents, st.randoms(use_true_random=False))
def test_with_sequence_weights_every_document_counts_the_same(lengths, chance):
    total = sum(lengths)
    labels = torch.tensor([chance.choice([-100, 5]) for _ in range(total)], dtype=torch.int64)
    losses = torch.tensor([chance.random() for _ in range(total)])
    cu_seqlens = cu_seqlens_from_lengths(lengths)
    parts = [
        part[kept != -100].mean()
        for part, kept in zip(losses.split(lengths), labels.split(lengths), strict=True)
        if (kept != -100).any()
    ]
    weighted = (sequence_weights(labels, cu_seqlens) * losses).sum()
    assert torch.allclose(weighted, torch.stack(parts).sum() if parts else torch.zeros(()))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"attention_mask is torch\.int64 \[1, 1, 2, 2\]"):
        cu_seqlens_from_attention_mask(torch.ones(1, 1, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"indices are \[2\] for tokens \[3\]"):
        repad(torch.ones(3), torch.tensor([0, 1]), 1, 3)
    with pytest.raises(ValueError, match=r"labels is \[1, 3\]"):
        packed_shift_labels(torch.ones(1, 3, dtype=torch.int64), cu_seqlens_from_lengths([3]))
    with pytest.raises(ValueError, match="block is 0"):
        block_table(cu_seqlens_from_lengths([3]), 3, 0)
    with pytest.raises(ValueError, match=r"document_ids is torch\.float32"):
        cu_seqlens_from_document_ids(torch.ones(3))
    with pytest.raises(ValueError, match=r"padded is \[3\]"):
        unpad(torch.ones(3), torch.tensor([0]))
