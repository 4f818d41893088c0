"""Attention within each document of a packed batch; the function that users call is in `sft_kernels.attention`.

Vaswani et al., "Attention Is All You Need" (arXiv:1706.03762). Grouped heads: arXiv:2305.13245. Softcap: Gemma 2
(arXiv:2408.00118). Sinks: gpt-oss's modeling code, after arXiv:2309.17453.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.launch import accumulator
from sft_kernels.ops.varlen_attention import flex, libraries, sdpa
from sft_kernels.ops.varlen_attention.call import OP, Boundaries, Call
from sft_kernels.registration import RawOp, define

__all__ = ["OP", "Boundaries", "Call", "attend"]

WIDEST = 256  # elements of a head that kernels have tiles for


def attend(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call, backend: str | None
) -> tuple[Tensor, Tensor | None]:
    """``out [T_q, H, Dv]`` and ``lse [H, T_q]``, which may be None unless it is wanted; see `flash_attn_varlen_func`.

    Arguments have been checked. `dispatch.choose` gets `q`, `k`, `v`, `sinks` and `call`.
    """
    chosen = dispatch.choose(OP, backend, q, k, v, sinks, call)
    if chosen in _DIFFERENTIABLE:
        return _DIFFERENTIABLE[chosen](q, k, v, sinks, call)
    cu_q, cu_k = call.boundaries[:2]
    # torch.compile cannot trace a Function that gets one tensor twice
    return _Attention.apply(q, k, v, sinks, cu_q, None if cu_k is cu_q else cu_k, *call[1:5], chosen)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, sinks, cu_q, cu_k, scale, softcap, left, right, backend):  # noqa: PLR0913
        cu_k = cu_q if cu_k is None else cu_k
        raw = torch.ops.sft_kernels.varlen_attention_forward
        out, lse = raw(q, k, v, sinks, cu_q, cu_k, scale, softcap, left, right, backend)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(q, k, v, sinks, cu_q, cu_k, out, lse)
        ctx.how = scale, softcap, left, right, backend
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout, dlse):  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, sinks, cu_q, cu_k, out, lse = ctx.saved_tensors
        if dout is None and dlse is None:
            return (None,) * 11
        if dout is None:  # only the lse was used
            dout = torch.zeros_like(out)
        raw = torch.ops.sft_kernels.varlen_attention_backward
        dq, dk, dv, dsinks = raw(dout, dlse, q, k, v, sinks, cu_q, cu_k, out, lse, *ctx.how)
        return dq, dk, dv, None if sinks is None else dsinks, *(None,) * 7


def _triton_reason(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> str | None:
    if max(q.shape[2], v.shape[2]) > WIDEST:
        return f"heads have {max(q.shape[2], v.shape[2])} elements, and kernels have tiles up to {WIDEST}"
    if not call.scale > 0:
        return f"softmax_scale is {call.scale}, and kernels look for the largest score before they scale it"
    return dispatch.triton_reason(q, k, v, sinks)


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_forward(q, k, v, sinks, cu_q, cu_k, scale, softcap, left, right):  # noqa: PLR0913
    out = q.new_empty(q.shape[0], q.shape[1], v.shape[2])
    return out, q.new_empty(q.shape[1], q.shape[0], dtype=accumulator(q.dtype))


def _fake_backward(dout, dlse, q, k, v, sinks, cu_q, cu_k, out, lse, scale, softcap, left, right):  # noqa: PLR0913
    dsinks = lse.new_empty(0) if sinks is None else sinks.new_empty(sinks.shape)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), dsinks


_DIFFERENTIABLE = {**libraries.ATTEND, "flex": flex.attend, "sdpa": sdpa.attend}
"""Those that torch or their library differentiates; the others have a forward and a backward pass of our own."""

_HOW = "float scale, float softcap, int left, int right"
define(
    OP,
    RawOp(
        "forward",
        f"(Tensor q, Tensor k, Tensor v, Tensor? sinks, Tensor cu_q, Tensor cu_k, {_HOW}) -> (Tensor out, Tensor lse)",
        _fake_forward,
    ),
    RawOp(
        "backward",
        "(Tensor dout, Tensor? dlse, Tensor q, Tensor k, Tensor v, Tensor? sinks, Tensor cu_q, Tensor cu_k, Tensor out,"
        f" Tensor lse, {_HOW}) -> (Tensor dq, Tensor dk, Tensor dv, Tensor dsinks)",
        _fake_backward,
    ),
)
dispatch.add(
    OP,
    *(dispatch.Implementation(name, reason, f"{__name__}.libraries") for name, reason in libraries.REASON_NOT.items()),
    dispatch.Implementation("triton", _triton_reason, f"{__name__}.triton"),
    dispatch.Implementation("flex", flex.reason_not, f"{__name__}.flex"),
    dispatch.Implementation("sdpa", sdpa.reason_not, f"{__name__}.sdpa"),
    dispatch.Implementation("reference", _never, f"{__name__}.reference"),
)
