"""From padded batches to packed tokens and back, in pure torch.

The names and the order of results are those that flash-attn's users know from its padding helpers, but a gradient is
a copy and no addition: each token has one place.
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["cu_seqlens_from_attention_mask", "repad", "unpad"]


def cu_seqlens_from_attention_mask(attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Where the tokens of a padded batch are, and the boundaries between its rows when the padding is gone.

    ::

        attention_mask   1  1  1  0        indices      0  1  2  6  7
                         0  0  1  1        cu_seqlens   0        3     5

    Padding may be on either side. Rows of padding alone become documents of no tokens. Host sync: the number of
    tokens is the length of a result.

    Args:
        attention_mask: ``[B, S]``, integer or bool; what is not 0 is a token. It says nothing of several documents in
            a row: those come from position ids or document ids.

    Returns:
        ``indices``, int64 ``[T]``, into the ``B * S`` places; ``cu_seqlens``, int32 ``[B + 1]``.

    Raises:
        ValueError: the mask is not two-dimensional (a mask of pairs of tokens is not read) or holds floats.
    """
    if attention_mask.dim() != 2 or attention_mask.is_floating_point():
        theirs = f"{attention_mask.dtype} {list(attention_mask.shape)}"
        raise ValueError(f"attention_mask is {theirs}, expected integers or bools of [batch, sequence]")
    tokens = attention_mask != 0
    cu_seqlens = torch.zeros(tokens.shape[0] + 1, dtype=torch.int32, device=tokens.device)
    torch.cumsum(tokens.sum(-1), dim=0, dtype=torch.int32, out=cu_seqlens[1:])
    return tokens.flatten().nonzero().flatten(), cu_seqlens


def unpad(padded: Tensor, indices: Tensor) -> Tensor:
    """The tokens of a padded batch, end to end.

    Args:
        padded: ``[B, S, ...]``, any dtype.
        indices: int64 ``[T]``, without repeats, as `cu_seqlens_from_attention_mask` gives them.

    Returns:
        ``[T, ...]``. Differentiable any number of times; the gradient is `repad`.

    Raises:
        ValueError: `padded` has fewer than two dimensions.
    """
    if padded.dim() < 2:
        raise ValueError(f"unpad: padded is {list(padded.shape)}, expected [batch, sequence, ...]")
    return _Gather.apply(padded.flatten(0, 1), indices)


def repad(tokens: Tensor, indices: Tensor, batch: int, length: int) -> Tensor:
    """The way back from `unpad`, with zeros for padding.

    Args:
        tokens: ``[T, ...]``, any dtype.
        indices: as in `unpad`.
        batch: rows, B.
        length: tokens of a row, S.

    Returns:
        ``[B, S, ...]``. Differentiable any number of times; the gradient is `unpad`.

    Raises:
        ValueError: there is not one index for each token.
    """
    if tokens.dim() < 1 or indices.shape != tokens.shape[:1]:
        raise ValueError(f"repad: indices are {list(indices.shape)} for tokens {list(tokens.shape)}; one for each")
    return _Scatter.apply(tokens, indices, batch * length).unflatten(0, (batch, length))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, flat, indices):
        ctx.save_for_backward(indices)
        ctx.places = flat.shape[0]
        return flat.index_select(0, indices)

    @staticmethod
    def backward(ctx: Any, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Scatter.apply(grad, *ctx.saved_tensors, ctx.places), None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens, indices, places):
        ctx.save_for_backward(indices)
        return tokens.new_zeros(places, *tokens.shape[1:]).index_copy_(0, indices, tokens)

    @staticmethod
    def backward(ctx: Any, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Gather.apply(grad, *ctx.saved_tensors), None, None
