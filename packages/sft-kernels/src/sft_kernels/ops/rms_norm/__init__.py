"""RMSNorm, alone and with the addition of the residual stream before it.

Zhang and Sennrich, "Root Mean Square Layer Normalization" (arXiv:1910.07467).
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.launch import accumulator
from sft_kernels.registration import RawOp, define

__all__ = ["Casting", "add_rms_norm", "rms_norm"]

Casting = Literal["llama", "gemma", "none"]
CASTINGS = ("llama", "gemma", "none")
WIDEST = 32768  # elements of a row that one program can hold


def rms_norm(
    x: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    *,
    offset: float = 0.0,
    casting: Casting = "llama",
    backend: str | None = None,
) -> Tensor:
    """``x / sqrt(mean(x**2) + eps) * (offset + weight)``, over the last dimension.

    Mean and root are float32 (float64 for float64 inputs). Modeling code differs in when it rounds to the dtype of
    `x`, and `casting` says after whom: ``"llama"`` rounds the normalised `x` before the weight multiplies it,
    ``"gemma"`` once, at the end, and ``"none"`` has no wider dtype than that of `x`, so every step rounds.

    Args:
        x: ``[..., N]``, float64, float32, bfloat16 or float16, of any strides.
        weight: ``[N]``, of any of these dtypes; None is all ones, and then `offset` must be 0.
        eps: added to the mean of squares.
        offset: added to the weight; 1 for Gemma.
        casting: see above.
        backend: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`).

    Returns:
        ``[..., N]``, contiguous. Of the dtype of `x` with ``"gemma"``, else of the dtype that the product of `x` and
        `weight` has in torch.

    Differentiable once, in `x` and `weight`; deterministic. `x` is saved for the backward pass, and the reciprocal
    root of each row.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or a backend that cannot run here.
    """
    _check(x, None, weight, offset, casting)
    chosen = dispatch.choose("rms_norm", backend, x, None, weight)
    return _RmsNorm.apply(x, None, weight, eps, offset, casting, chosen)[0]


def add_rms_norm(  # noqa: PLR0913
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    *,
    offset: float = 0.0,
    casting: Casting = "llama",
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The new residual ``x + residual``, and `rms_norm` of it, in one pass over memory.

    Args:
        x: ``[..., N]``, what a layer adds to the residual stream.
        residual: of the shape of `x`, the stream; it may have another dtype (float32, say).
        weight: as in `rms_norm`, as are the other arguments.
        eps: see `rms_norm`.
        offset: see `rms_norm`.
        casting: see `rms_norm`.
        backend: see `rms_norm`.

    Returns:
        ``(y, new_residual)``, each ``[..., N]`` and contiguous. The sum is rounded to the dtype that torch's addition
        gives it, and then normalised: the same bits as an addition followed by `rms_norm`.

    Raises:
        ValueError: as `rms_norm`, and a residual of another shape.
    """
    _check(x, residual, weight, offset, casting)
    chosen = dispatch.choose("rms_norm", backend, x, residual, weight)
    y, total = _RmsNorm.apply(x, residual, weight, eps, offset, casting, chosen)
    return y, total


class _RmsNorm(torch.autograd.Function):
    """Both ops; without a residual the second output is empty."""

    @staticmethod
    def forward(ctx: Any, x, residual, weight, eps, offset, casting, backend):  # noqa: PLR0913
        y, total, rstd = torch.ops.sft_kernels.rms_norm_forward(x, residual, weight, eps, offset, casting, backend)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x if residual is None else total, weight, rstd)
        ctx.how = offset, casting, backend
        ctx.dtypes = x.dtype, None if residual is None else residual.dtype
        if residual is None:
            ctx.mark_non_differentiable(total)
        return y, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad, grad_total):  # pyright: ignore[reportIncompatibleMethodOverride]
        total, weight, rstd = ctx.saved_tensors
        dtype, residual_dtype = ctx.dtypes
        if residual_dtype is None:
            grad_total = None
        if grad is None:  # only the new residual was used
            dtotal, dweight = grad_total, None
        else:
            weight_grad = weight is not None and ctx.needs_input_grad[2]
            dtotal, dweight = torch.ops.sft_kernels.rms_norm_backward(
                grad, grad_total, total, weight, rstd, *ctx.how[:2], weight_grad, ctx.how[2]
            )
            dweight = dweight if weight_grad else None
        dx = None if dtotal is None else dtotal.to(dtype)
        dresidual = None if dtotal is None or residual_dtype is None else dtotal.to(residual_dtype)
        return dx, dresidual, dweight, None, None, None, None


def sum_dtype(x: Tensor, residual: Tensor | None) -> torch.dtype:
    """The dtype of what is normalised."""
    return x.dtype if residual is None else torch.promote_types(x.dtype, residual.dtype)


def output_dtype(normalised: torch.dtype, weight: Tensor | None, casting: str) -> torch.dtype:
    """The dtype of the output, for what is normalised of dtype `normalised`."""
    if weight is None or casting == "gemma":
        return normalised
    return torch.promote_types(normalised, weight.dtype)


def _check(x: Tensor, residual: Tensor | None, weight: Tensor | None, offset: float, casting: str) -> None:
    if casting not in CASTINGS:
        raise ValueError(f"rms_norm: casting is {casting!r}; it has to be one of {', '.join(CASTINGS)}")
    if x.ndim == 0 or x.shape[-1] == 0 or not x.is_floating_point():
        raise ValueError(
            f"rms_norm: x is {x.dtype} {list(x.shape)}; it has to be floating-point [..., N], N at least 1"
        )
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"add_rms_norm: residual is {list(residual.shape)} and x {list(x.shape)}; make them the same")
    if weight is None:
        if offset != 0:
            raise ValueError(f"rms_norm: offset is {offset} without a weight to add it to; pass the weight")
    elif weight.shape != x.shape[-1:]:
        raise ValueError(f"rms_norm: weight is {list(weight.shape)} and x {list(x.shape)}; weight has to be [N]")
    for name, other in (("residual", residual), ("weight", weight)):
        if other is not None and other.device != x.device:
            raise ValueError(f"rms_norm: {name} is on {other.device} and x on {x.device}; move one of them")


def _triton_reason(x: Tensor, residual: Tensor | None, weight: Tensor | None) -> str | None:
    if x.shape[-1] > WIDEST:
        return f"rows have {x.shape[-1]} elements, and a program holds {WIDEST}"
    return dispatch.triton_reason(x, residual, weight)


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_forward(x, residual, weight, eps, offset, casting):
    dtype = sum_dtype(x, residual)
    total = x.new_empty(0 if residual is None else x.shape, dtype=dtype)
    y = x.new_empty(x.shape, dtype=output_dtype(dtype, weight, casting))
    return y, total, x.new_empty(x.shape[:-1], dtype=accumulator(dtype))


def _fake_backward(grad, grad_total, total, weight, rstd, offset, casting, weight_grad):  # noqa: PLR0913
    dweight = weight.new_empty(weight.shape) if weight_grad else total.new_empty(0)
    return total.new_empty(total.shape), dweight


define(
    "rms_norm",
    RawOp(
        "forward",
        "(Tensor x, Tensor? residual, Tensor? weight, float eps, float offset, str casting)"
        " -> (Tensor y, Tensor total, Tensor rstd)",
        _fake_forward,
    ),
    RawOp(
        "backward",
        "(Tensor grad, Tensor? grad_total, Tensor total, Tensor? weight, Tensor rstd, float offset, str casting,"
        " bool weight_grad) -> (Tensor dtotal, Tensor dweight)",
        _fake_backward,
    ),
)
dispatch.add(
    "rms_norm",
    dispatch.Implementation("triton", _triton_reason, "sft_kernels.ops.rms_norm.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.rms_norm.reference"),
)
