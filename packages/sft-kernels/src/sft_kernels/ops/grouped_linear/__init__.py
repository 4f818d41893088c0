"""Linear layers of mixture-of-experts models: each token's rows meet the weight of its expert.

Tokens are sorted by expert, and `offsets` says where each expert's begin: the grouped matrix product of MegaBlocks
(Gale et al., arXiv:2211.15841). An adapter for each expert is two more grouped products with a rank-r side.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.registration import RawOp, autocast_inputs, define

__all__ = ["grouped_linear"]

_ASSERT: Any = getattr(torch, "_assert_async")  # noqa: B009 - checks on the device, without waiting for it


def grouped_linear(  # noqa: PLR0913
    x: Tensor,
    weight: Tensor,
    offsets: Tensor,
    *,
    a: Tensor | None = None,
    b: Tensor | None = None,
    scaling: float = 1.0,
    bias: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """``x[t] W[e]^T + scaling (x[t] A[e]^T) B[e]^T + bias[e]``, with e the expert of token t.

    Sums are float32 (float64 for float64), results in the dtype of `x`, to which A, B and bias are cast; under
    autocast everything is cast as ``torch.nn.functional.linear`` would.

    Args:
        x: ``[T, K]``, sorted by expert.
        weight: ``[E, N, K]``, of the dtype of `x`.
        offsets: ``[E + 1]``, int32 or int64, on the device of `x`: expert e has rows ``offsets[e]`` up to
            ``offsets[e + 1]``, none where they are the same. It starts at 0, never decreases and ends at T.
        a: ``[E, r, K]``; None, with `b`, is no adapter.
        b: ``[E, N, r]``.
        scaling: multiplies the adapter's product.
        bias: ``[E, N]``.
        backend: ``"torch"`` (torch's grouped_mm), ``"triton"`` or ``"reference"``; None chooses (see
            `sft_kernels.dispatch`). ``implementations("grouped_linear", x, weight)`` says why not.

    Returns:
        ``[T, N]``. Experts without tokens get zero gradients.

    Differentiable once; deterministic; no host sync, except that the reference reads the offsets. That offsets end at
    T is asserted on the device.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
    """
    x, weight, a, b, bias = autocast_inputs(x, weight, a, b, bias)  # pyright: ignore[reportAssignmentType]
    _check(x, weight, offsets, a, b, bias)
    _ASSERT(offsets[-1] == x.shape[0], "grouped_linear: offsets do not end at the number of tokens")
    offsets = offsets.to(torch.int32)
    y = _product(x, weight, offsets, backend)
    if a is not None and b is not None:
        low = _product(x, a.to(x.dtype), offsets, backend)
        y = y + _product(low, b.to(x.dtype), offsets, backend) * scaling
    if bias is not None:
        # A product with ones, whose gradient is a sum in a fixed order; torch's grouped_mm does not take such a width.
        ones = x.new_ones(1).expand(x.shape[0], 1)
        y = y + _product(ones, bias.to(x.dtype)[..., None], offsets, None if backend == "torch" else backend)
    return y


def _product(x: Tensor, weight: Tensor, offsets: Tensor, backend: str | None) -> Tensor:
    chosen = dispatch.choose("grouped_linear", backend, x, weight)
    return _GroupedLinear.apply(x, weight, offsets, chosen)


class _GroupedLinear(torch.autograd.Function):
    """One grouped product."""

    @staticmethod
    def forward(ctx: Any, x, weight, offsets, backend):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, offsets)
        ctx.backend = backend
        return torch.ops.sft_kernels.grouped_linear_rows(x, weight, offsets, True, backend)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, offsets = ctx.saved_tensors
        if grad is None:
            return None, None, None, None
        dx = dweight = None
        if ctx.needs_input_grad[0]:
            dx = torch.ops.sft_kernels.grouped_linear_rows(grad, weight, offsets, False, ctx.backend)
        if ctx.needs_input_grad[1]:
            dweight = torch.ops.sft_kernels.grouped_linear_weights(grad, x, offsets, ctx.backend)
        return dx, dweight, None, None


def _check(x: Tensor, weight: Tensor, offsets: Tensor, a: Tensor | None, b: Tensor | None, bias: Tensor | None) -> None:
    if weight.ndim != 3 or x.ndim != 2 or x.shape[1] != weight.shape[2] or weight.dtype != x.dtype:
        raise ValueError(
            f"grouped_linear: x is {x.dtype} {list(x.shape)} and weight {weight.dtype} {list(weight.shape)};"
            " they have to be [T, K] and [E, N, K] of one dtype"
        )
    if not x.is_floating_point() or 0 in weight.shape:
        raise ValueError(f"grouped_linear: {x.dtype} {list(weight.shape)}; it has to be floating-point and not empty")
    experts, n, k = weight.shape
    if offsets.shape != (experts + 1,) or offsets.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"grouped_linear: offsets is {offsets.dtype} {list(offsets.shape)}; it has to be int32 [{experts + 1}]"
        )
    if (a is None) != (b is None):
        raise ValueError("grouped_linear: one of a and b is None; pass both or none")
    if a is not None and b is not None and (a.shape != (experts, a.shape[1], k) or b.shape != (experts, n, a.shape[1])):
        raise ValueError(
            f"grouped_linear: a is {list(a.shape)} and b {list(b.shape)};"
            f" they have to be [{experts}, r, {k}] and [{experts}, {n}, r]"
        )
    if bias is not None and bias.shape != (experts, n):
        raise ValueError(f"grouped_linear: bias is {list(bias.shape)}; it has to be [{experts}, {n}]")
    for other in (weight, offsets, a, b, bias):
        if other is not None and other.device != x.device:
            raise ValueError(f"grouped_linear: x is on {x.device} and another argument on {other.device}; move one")


def _triton_reason(x: Tensor, weight: Tensor) -> str | None:
    return dispatch.triton_reason(x, weight)


def _torch_reason(x: Tensor, weight: Tensor) -> str | None:
    if not hasattr(torch.nn.functional, "grouped_mm"):
        return f"torch {torch.__version__} has no torch.nn.functional.grouped_mm"
    if x.device.type == "cuda":
        if x.dtype != torch.bfloat16:
            return f"x is {x.dtype}, and torch's grouped_mm is fast for bfloat16 alone"
        if torch.cuda.get_device_capability(x.device) < (9, 0):
            return "the GPU is older than Hopper, where torch loops over experts and waits for the device"
    elif x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"x is {x.dtype} on {x.device.type!r}"
    if weight.shape[1] * x.element_size() % 16 or weight.shape[2] * x.element_size() % 16:
        return f"weight is {list(weight.shape)}, and rows of N and of K have to be multiples of 16 bytes"
    return None


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_rows(x, weight, offsets, transposed):
    return x.new_empty(x.shape[0], weight.shape[1] if transposed else weight.shape[2])


def _fake_weights(grad, x, offsets):
    return x.new_empty(offsets.shape[0] - 1, grad.shape[1], x.shape[1])


define(
    "grouped_linear",
    RawOp("rows", "(Tensor x, Tensor weight, Tensor offsets, bool transposed) -> Tensor", _fake_rows),
    RawOp("weights", "(Tensor grad, Tensor x, Tensor offsets) -> Tensor", _fake_weights),
)
dispatch.add(
    "grouped_linear",
    dispatch.Implementation("torch", _torch_reason, "sft_kernels.ops.grouped_linear.grouped_mm"),
    dispatch.Implementation("triton", _triton_reason, "sft_kernels.ops.grouped_linear.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.grouped_linear.reference"),
)
