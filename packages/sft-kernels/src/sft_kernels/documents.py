"""What losses and kernels need to know of packed documents, in pure torch; the contract is that of `packing`."""

from collections.abc import Callable

import torch
from torch import Tensor

from sft_kernels.packing import document_ids_from_cu_seqlens

__all__ = [
    "block_table",
    "cu_seqlens_from_document_ids",
    "document_mask_mod",
    "packed_shift_labels",
    "sequence_weights",
]


def cu_seqlens_from_document_ids(document_ids: Tensor) -> Tensor:
    """Cumulative lengths of documents from the number of each token's document.

    ::

        document ids   4  4  4  0  0  4        a document begins wherever the number changes
        cu_seqlens     0        3     5  6

    Host sync: the number of documents is the length of the result.

    Args:
        document_ids: integer ``[T]``; flatten rows first if no document spans two.

    Returns:
        int32 ``[documents + 1]``.

    Raises:
        ValueError: another shape, or floats.
    """
    if document_ids.dim() != 1 or document_ids.is_floating_point():
        raise ValueError(f"document_ids is {document_ids.dtype} {list(document_ids.shape)}, expected integers [tokens]")
    total = document_ids.new_tensor([document_ids.numel()])
    if document_ids.numel() == 0:
        return total.to(torch.int32)
    changes = (document_ids[1:] != document_ids[:-1]).nonzero().flatten() + 1
    return torch.cat([torch.zeros_like(total), changes, total]).to(torch.int32)


def block_table(cu_seqlens: Tensor, total: int, block: int) -> Tensor:
    """Which tokens each program of a varlen kernel works on, without waiting for the device.

    Documents are cut into blocks of their own. How many blocks there are is known on the device alone, so the table is
    as long as it can be, and what is left over has document -1::

        cu_seqlens 0 5 5 8, block 4        document   0  0  2 -1 -1
                                           first      0  4  5  0  0

    Args:
        cu_seqlens: int32 ``[N + 1]``.
        total: number of tokens, T.
        block: tokens of a block.

    Returns:
        int32 ``[T // block + N, 2]``: document, and first token among all T.

    Raises:
        ValueError: `block` is below 1.
    """
    if block < 1:
        raise ValueError(f"block_table: block is {block}; it has to be at least 1")
    blocks = (cu_seqlens.diff() + block - 1) // block
    ends = blocks.cumsum(0)
    number = torch.arange(total // block + blocks.numel(), device=cu_seqlens.device)
    document = torch.searchsorted(ends, number, right=True)
    exists = document < blocks.numel()
    document = document.clamp(max=max(blocks.numel() - 1, 0))
    first = cu_seqlens[document] + (number - (ends - blocks)[document]) * block
    table = torch.stack((document.where(exists, -1), first.where(exists, 0)), -1)
    return table.to(torch.int32)


def packed_shift_labels(labels: Tensor, cu_seqlens: Tensor, ignore_index: int = -100) -> Tensor:
    """Labels moved to the token that predicts them, none across a boundary.

    ::

        labels       a  b  c | d  e
        cu_seqlens   0         3     5
        shifted      b  c  . | e  .

    Args:
        labels: integer ``[T]``.
        cu_seqlens: int32 ``[N + 1]``.
        ignore_index: the label of the last token of each document.

    Returns:
        Like `labels`.

    Raises:
        ValueError: `labels` is not one-dimensional.
    """
    if labels.dim() != 1:
        raise ValueError(f"labels is {list(labels.shape)}, expected [tokens]; flatten the rows first")
    shifted = torch.full_like(labels, ignore_index)
    if labels.numel() < 2:
        return shifted
    documents = document_ids_from_cu_seqlens(cu_seqlens, labels.numel())
    shifted[:-1] = torch.where(documents[1:] == documents[:-1], labels[1:], ignore_index)
    return shifted


def document_mask_mod(
    cu_seqlens: Tensor, total: int, *, causal: bool = True
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The mask of attention within documents for ``torch.nn.attention.flex_attention.create_block_mask``.

    Args:
        cu_seqlens: int32 ``[N + 1]``.
        total: number of tokens of the row, T; those past the last boundary attend to one another.
        causal: a token sees no later one.

    Returns:
        A function of batch, head, query and key indices; True where the query may attend to the key.
    """
    documents = document_ids_from_cu_seqlens(cu_seqlens, total)

    def mask(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = documents[query] == documents[key]
        return same & (query >= key) if causal else same

    return mask


def sequence_weights(labels: Tensor, cu_seqlens: Tensor, ignore_index: int = -100) -> Tensor:
    """Weights of tokens with which every document counts the same, however many labels it has.

    The sum of weights times losses is the sum over documents of their mean losses; divide by the number of documents
    that have a label.

    Args:
        labels: integer ``[T]``, at the token that predicts them (see `packed_shift_labels`).
        cu_seqlens: int32 ``[N + 1]``.
        ignore_index: the label of tokens that have none.

    Returns:
        float32 ``[T]``: one over the number of the document's labels, and 0 where there is none.
    """
    has_label = labels != ignore_index
    documents = document_ids_from_cu_seqlens(cu_seqlens, labels.numel())
    counts = torch.zeros(cu_seqlens.numel(), dtype=torch.int64, device=labels.device)
    counts.scatter_add_(0, documents, has_label.long())  # of integers: the order does not matter
    return torch.where(has_label, 1.0 / counts[documents].clamp(min=1), 0.0)
