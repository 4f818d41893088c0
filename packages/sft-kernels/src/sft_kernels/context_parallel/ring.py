"""Attention over a row that ranks share: keys and values go round, queries stay.

Liu et al., "Ring Attention with Blockwise Transformers" (arXiv:2310.01889). A rank computes the block of its own
queries and keys, then one block after another with keys of other ranks, while the next ones are on their way. Blocks
are merged by their lse, the log of the softmax denominator::

    lse = log(exp(lse_a) + exp(lse_b))      out = out_a * exp(lse_a - lse) + out_b * exp(lse_b - lse)

In step s keys come from the rank s places back and straight from it, so that only what is looked at travels: no key of
a document that lies within one chunk, and of others no key that the window hides. Backwards the keys make the same way
again, and their gradients return to the rank that they came from. A block's gradients need the lse of all blocks and
nothing else of the others, so they come out exact: the backward passes of `triton` and `reference` take it.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels.attention.varlen import finite, require_tensors, window_sides
from sft_kernels.context_parallel.blocks import Queries, Ring, Scores, backward_blocks, forward_blocks, weight
from sft_kernels.context_parallel.exchange import rank_in
from sft_kernels.context_parallel.layout import ContextLayout
from sft_kernels.context_parallel.plan import plan_ring
from sft_kernels.registration import autocast_inputs

__all__ = ["check_tokens", "ring_varlen"]


def ring_varlen(  # noqa: PLR0913
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: ContextLayout,
    group: dist.ProcessGroup,
    *,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    deterministic: bool = False,
    sinks: Tensor | None = None,
    backend: str | None = None,
    ring: Ring | None = None,
) -> Tensor:
    """Attention within each document of a row whose tokens lie on several ranks. All ranks of the group call it.

    The result is that of `flash_attn_varlen_func` on the whole row; the merge runs in float32 (float64 for float64
    inputs), and each rank always adds up in the same order. Any number of heads, and any layout. Not for
    torch.compile. Differentiable once.

    Args:
        q: floats ``[t, H, D]``, this rank's tokens in the order of `layout`.
        k: ``[t, K, D]``, where K divides H.
        v: ``[t, K, Dv]``.
        layout: of the whole row; `zigzag` makes one whose causal work is even.
        group: ranks that share the row, as many as the layout has. With NCCL let the group do something first
            that all its ranks take part in, such as a barrier: a rank whose documents need no other sends nothing.
        softmax_scale: as for `flash_attn_varlen_func`, and so are `causal`, `window_size`, `softcap` and
            `deterministic`.
        sinks: floats ``[H]``, the same on all ranks. Its gradient is this rank's part: the sum over ranks is the
            whole one, as for any other weight.
        backend: an implementation that gives an lse; None chooses. Where its backward pass cannot take one, those
            of `triton` (on a GPU) or `reference` run instead.
        ring: made from the same layout, group and window by an earlier call; see `ContextParallel`.

    Returns:
        ``[t, H, Dv]`` in the dtype of `q`.

    Raises:
        ValueError: tensors that are not this rank's tokens, a group that is not the layout's, or a backend that
            gives no lse.
    """
    rank = rank_in(group, layout.ranks)
    check_tokens(layout.count(rank), rank, q, k, v)
    require_tensors(q, k, v, sinks)
    left, right = window_sides(window_size, causal)
    ring = ring or Ring(plan_ring(layout, rank, left, right), group, {})
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    scores = Scores(scale, finite(softcap, "softcap"), left, right, deterministic, backend)
    q, k, v = autocast_inputs(q, k, v)  # pyright: ignore[reportAssignmentType]
    return _Ring.apply(q.contiguous(), k.contiguous(), v.contiguous(), sinks, ring, scores)


def check_tokens(count: int, rank: int, *tensors: Tensor) -> None:
    """Refuses tensors ``[t, heads, width]`` that are not this rank's part of the row.

    Raises:
        ValueError: with the shape.
    """
    for tensor in tensors:
        if tensor.dim() != 3 or tensor.shape[0] != count:
            raise ValueError(
                f"rank {rank} has {count} tokens in this layout, and a tensor has shape {list(tensor.shape)}; expected "
                f"[{count}, heads, head_dim], cut from the whole row by sft_kernels.context_parallel.take"
            )


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, sinks, ring: Ring, scores: Scores):  # noqa: PLR0913
        out, lse = forward_blocks(q, k, v, ring, scores)
        if sinks is not None:
            whole = torch.logaddexp(lse, sinks.to(lse.dtype)[:, None])
            out, lse = out * weight(lse, whole), whole
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, sinks, out, lse)
        ctx.how = ring, scores
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, sinks, out, lse = ctx.saved_tensors
        ring, scores = ctx.how
        dout = dout.contiguous()
        dq, dk, dv = backward_blocks(Queries(q, dout, out, lse), k, v, ring, scores)
        dsinks = None
        if sinks is not None:
            delta = torch.einsum("qhd,qhd->hq", dout.to(lse.dtype), out.to(lse.dtype))
            dsinks = -(torch.exp(sinks.to(lse.dtype)[:, None] - lse) * delta).sum(1).to(sinks.dtype)
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), dsinks, None, None
