"""RMSNorm of each head of queries and keys, and then their rotary embedding, in one pass: Qwen3, Gemma 3.

RMSNorm: arXiv:1910.07467. Rotary embedding: arXiv:2104.09864. Norms of queries and keys: arXiv:2302.05442.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.launch import accumulator
from sft_kernels.ops.rope import angles, by_token, check, from_token, is_half_width
from sft_kernels.registration import RawOp, define

__all__ = ["qk_norm_rope"]


def qk_norm_rope(  # noqa: PLR0913
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float = 1e-6,
    *,
    offset: float = 0.0,
    position_ids: Tensor | None = None,
    unsqueeze_dim: int = 1,
    rotary_dim: int | None = None,
    interleaved: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """`apply_rotary_pos_emb` of ``rms_norm(q, q_weight)`` and ``rms_norm(k, k_weight)``, without what lies between.

    Everything between load and store is float32 (float64 for float64 inputs), with one rounding, to the dtype of
    `q`. Modeling code rounds two to four times on the way.

    Args:
        q: as in `apply_rotary_pos_emb`; the norm is over a head's ``D`` elements.
        k: as `q`, with heads of its own number.
        q_weight: ``[D]``, of any floating-point dtype.
        k_weight: ``[D]``, of the dtype of `q_weight`.
        cos: angles as in `apply_rotary_pos_emb`, or with `position_ids` a table as in `rope_cached`.
        sin: as `cos`.
        eps: added to the mean of squares.
        offset: added to the weights; 1 for Gemma.
        position_ids: as in `rope_cached`; `rotary_dim` is then twice the table's width.
        unsqueeze_dim: as in `apply_rotary_pos_emb`.
        rotary_dim: as there.
        interleaved: as there.
        backend: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`).

    Returns:
        ``(q', k')`` like `q` and `k`.

    Differentiable once, in `q`, `k` and the weights; deterministic. `q`, `k`, the weights and the angles are saved, and
    the backward pass computes the norms again.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or a backend that cannot run here.
    """
    half_width = True if position_ids is not None else is_half_width(q, cos, rotary_dim)
    q4, k4 = by_token(q, unsqueeze_dim), by_token(k, unsqueeze_dim)
    cos, sin, position_ids = angles(q4, cos, sin, position_ids)
    check(q4, k4, (cos, sin), position_ids, half_width)
    for name, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        if weight.shape != q.shape[-1:] or weight.dtype != q_weight.dtype or weight.device != q.device:
            theirs = f"{weight.dtype} {list(weight.shape)} on {weight.device}"
            raise ValueError(f"qk_norm_rope: {name} is {theirs} and q {list(q.shape)} on {q.device}; it has to be [D]")
    chosen = dispatch.choose("qk_norm_rope", backend, q4, k4, q_weight, k_weight, cos, sin, position_ids)
    table = (cos, sin, position_ids, eps, offset, interleaved, half_width)
    q4, k4 = _QkNormRope.apply(q4, k4, q_weight, k_weight, *table, chosen)
    return from_token(q4, q, unsqueeze_dim), from_token(k4, k, unsqueeze_dim)


class _QkNormRope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args):
        *tensors, eps, offset, interleaved, half_width, backend = args
        ctx.save_for_backward(*tensors)
        ctx.how = eps, offset, interleaved, half_width, backend
        return torch.ops.sft_kernels.qk_norm_rope_forward(*args)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_q, grad_k):  # pyright: ignore[reportIncompatibleMethodOverride]
        tensors = ctx.saved_tensors  # once: with checkpointing a second access is an error
        *how, backend = ctx.how
        of_q, of_k = ctx.needs_input_grad[2:4]
        dq, dk, dweight = torch.ops.sft_kernels.qk_norm_rope_backward(
            grad_q, grad_k, *tensors, *how, of_q or of_k, backend
        )
        kind = tensors[2].dtype
        weights = (dweight[0].to(kind) if of_q else None, dweight[1].to(kind) if of_k else None)
        return dq, dk, *weights, *(None,) * 8


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_forward(q, k, *_: Any):
    return torch.empty_like(q), torch.empty_like(k)


def _fake_backward(grad_q, grad_k, q, k, *rest: Any):
    shape = (2, q.shape[-1]) if rest[-1] else (0,)
    return torch.empty_like(q), torch.empty_like(k), q.new_empty(shape, dtype=accumulator(q.dtype))


_INPUTS = (
    "Tensor q, Tensor k, Tensor q_weight, Tensor k_weight, Tensor cos, Tensor sin, Tensor? positions, float eps,"
    " float offset, bool interleaved, bool half_width"
)
define(
    "qk_norm_rope",
    RawOp("forward", f"({_INPUTS}) -> (Tensor, Tensor)", _fake_forward),
    RawOp(
        "backward",
        f"(Tensor grad_q, Tensor grad_k, {_INPUTS}, bool weights) -> (Tensor dq, Tensor dk, Tensor dweight)",
        _fake_backward,
    ),
)
dispatch.add(
    "qk_norm_rope",
    dispatch.Implementation("triton", dispatch.triton_reason, "sft_kernels.ops.qk_norm_rope.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.qk_norm_rope.reference"),
)
