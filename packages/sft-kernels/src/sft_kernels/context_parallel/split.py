"""A packed row to a rank's own tokens, and back; nothing here talks to another rank."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sft_kernels.context_parallel.layout import ContextLayout

__all__ = ["PackedSlice", "gather", "split_packed", "take"]

IGNORE_INDEX = -100


class PackedSlice(NamedTuple):
    """A rank's own tokens, each tensor ``[..., count]``."""

    input_ids: Tensor
    targets: Tensor
    """What comes next after each token, ready for the loss: not to be shifted again."""
    position_ids: Tensor


def split_packed(
    input_ids: Tensor, labels: Tensor, position_ids: Tensor, layout: ContextLayout, rank: int
) -> PackedSlice:
    """What a rank trains on.

    Labels are shifted before the row is cut: the last token of a chunk predicts the first of the next one, which
    another rank has, and no rank could see that afterwards. Two ranks with one chunk each::

        tokens        a0  a1  a2 | a3  b0  b1
        labels         .  a1  a2 | a3   .  b1
        targets       a1  a2  a3 |  .  b1   .       a3 is predicted by the rank that has a2

    Args:
        input_ids: int64 ``[..., T]``.
        labels: int64 ``[..., T]``, unshifted; -100 where nothing is trained.
        position_ids: int64 ``[..., T]``, within documents. They stay what they are, so that rotary embeddings are
            those of the whole document.
        layout: of the T tokens.
        rank: within the group.

    Raises:
        ValueError: T is not the layout's.
    """
    targets = torch.full_like(labels, IGNORE_INDEX)
    targets[..., :-1] = labels[..., 1:]
    ends = [end - 1 for end in layout.documents[1:] if end]
    targets[..., ends] = IGNORE_INDEX  # what comes next is another document
    return PackedSlice(*(take(each, layout, rank) for each in (input_ids, targets, position_ids)))


def take(tensor: Tensor, layout: ContextLayout, rank: int, dim: int = -1) -> Tensor:
    """A rank's part of a tensor that has all tokens of the row along `dim`.

    Raises:
        ValueError: `dim` is not as long as the row.
    """
    if tensor.shape[dim] != layout.total:
        raise ValueError(
            f"dimension {dim} has {tensor.shape[dim]} entries and the row {layout.total} tokens; take from the whole "
            "row, with the layout made from its own cu_seqlens"
        )
    parts = [tensor.narrow(dim, begin, end - begin) for begin, end in layout.spans(rank)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def gather(parts: Sequence[Tensor], layout: ContextLayout, dim: int = -1) -> Tensor:
    """The whole row from the parts of all ranks, in the ranks' order: what `take` has taken apart.

    Raises:
        ValueError: there are more or fewer parts than ranks, or a part is not as long as its rank's tokens.
    """
    lengths = [part.shape[dim] for part in parts]
    wanted = [layout.count(rank) for rank in range(layout.ranks)]
    if lengths != wanted:
        raise ValueError(f"parts have {lengths} tokens and the ranks {wanted}; pass one part per rank, in order")
    pieces: dict[int, Tensor] = {}
    for rank, part in enumerate(parts):
        sizes = [end - begin for begin, end in layout.spans(rank)]
        pieces |= dict(zip(layout.chunks(rank), part.split(sizes, dim), strict=True))
    return torch.cat([pieces[chunk] for chunk in sorted(pieces)], dim)
