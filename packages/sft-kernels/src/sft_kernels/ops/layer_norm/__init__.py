"""LayerNorm: Ba, Kiros and Hinton, "Layer Normalization" (arXiv:1607.06450)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.launch import accumulator
from sft_kernels.registration import RawOp, define

__all__ = ["layer_norm"]

WIDEST = 32768  # elements of a row that one program can hold


def layer_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    backend: str | None = None,
) -> Tensor:
    """``(x - mean(x)) / sqrt(var(x) + eps) * weight + bias``, over the last dimension.

    Everything between load and store is float32 (float64 for float64 inputs), with one rounding at the end.

    Args:
        x: ``[..., N]``, float64, float32, bfloat16 or float16, of any strides.
        weight: ``[N]``, of any of these dtypes; None is all ones.
        bias: ``[N]``, of any of these dtypes; None is zero.
        eps: added to the variance, which is the mean of squares around the mean.
        backend: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`).

    Returns:
        ``[..., N]``, contiguous, of the dtype of `x`. Autocast does not change that, unlike torch's own function.

    Differentiable once, in `x`, `weight` and `bias`; deterministic. `x` is saved, and mean and reciprocal root of each
    row.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or a backend that cannot run here.
    """
    if x.ndim == 0 or x.shape[-1] == 0 or not x.is_floating_point():
        raise ValueError(
            f"layer_norm: x is {x.dtype} {list(x.shape)}; it has to be floating-point [..., N], N at least 1"
        )
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and (other.shape != x.shape[-1:] or other.device != x.device):
            theirs = f"{list(other.shape)} on {other.device} and x {list(x.shape)} on {x.device}"
            raise ValueError(f"layer_norm: {name} is {theirs}; it has to be [N], there")
    chosen = dispatch.choose("layer_norm", backend, x, weight, bias)
    return _LayerNorm.apply(x, weight, bias, eps, chosen)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, weight, bias, eps, backend):
        y, mean, rstd = torch.ops.sft_kernels.layer_norm_forward(x, weight, bias, eps, backend)
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.bias_dtype, ctx.backend = None if bias is None else bias.dtype, backend
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, mean, rstd = ctx.saved_tensors
        needs_weight, needs_bias = ctx.needs_input_grad[1:3]
        dx, dweight, dbias = torch.ops.sft_kernels.layer_norm_backward(
            grad, x, weight, mean, rstd, needs_weight or needs_bias, ctx.backend
        )
        return (
            dx,
            dweight.to(weight.dtype) if needs_weight else None,
            dbias.to(ctx.bias_dtype) if needs_bias else None,
            None,
            None,
        )


def _triton_reason(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> str | None:
    if x.shape[-1] > WIDEST:
        return f"rows have {x.shape[-1]} elements, and a program holds {WIDEST}"
    return dispatch.triton_reason(x, weight, bias)


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_forward(x, weight, bias, eps):
    acc = accumulator(x.dtype)
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1], dtype=acc), x.new_empty(x.shape[:-1], dtype=acc)


def _fake_backward(grad, x, weight, mean, rstd, sums):
    size = x.shape[-1:] if sums else 0
    return x.new_empty(x.shape), rstd.new_empty(size), rstd.new_empty(size)


define(
    "layer_norm",
    RawOp(
        "forward",
        "(Tensor x, Tensor? weight, Tensor? bias, float eps) -> (Tensor y, Tensor mean, Tensor rstd)",
        _fake_forward,
    ),
    RawOp(
        "backward",
        "(Tensor grad, Tensor x, Tensor? weight, Tensor mean, Tensor rstd, bool sums)"
        " -> (Tensor dx, Tensor dweight, Tensor dbias)",
        _fake_backward,
    ),
)
dispatch.add(
    "layer_norm",
    dispatch.Implementation("triton", _triton_reason, "sft_kernels.ops.layer_norm.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.layer_norm.reference"),
)
