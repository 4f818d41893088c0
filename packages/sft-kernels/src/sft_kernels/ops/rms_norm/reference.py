"""RMSNorm in plain PyTorch: the meaning that every other implementation has to match.

The backward pass is written out. With ``n = x * rstd``, ``g = grad * (offset + weight)``, over a row of N elements::

    dx      = rstd * (g - n * mean(g * n))
    dweight = sum over rows of grad * n
"""

import torch
from torch import Tensor

from sft_kernels.launch import accumulator
from sft_kernels.ops.rms_norm import output_dtype

__all__ = ["backward", "forward"]


def forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, eps: float, offset: float, casting: str
) -> tuple[Tensor, Tensor, Tensor]:
    """``(y, total, rstd)``; `total` is empty without a residual, `rstd` is float32 or float64, ``[...]``."""
    total = x if residual is None else x + residual
    acc = accumulator(total.dtype)
    wide = total if casting == "none" else total.to(acc)
    rstd = torch.rsqrt(wide.square().mean(-1) + eps).to(acc)
    y = _normalised(total, rstd, casting) * _scale(weight, offset, casting, acc)
    y = y.to(output_dtype(total.dtype, weight, casting)).contiguous()
    return y, x.new_empty(0) if residual is None else total.contiguous(), rstd.contiguous()


def backward(  # noqa: PLR0913
    grad: Tensor,
    grad_total: Tensor | None,
    total: Tensor,
    weight: Tensor | None,
    rstd: Tensor,
    offset: float,
    casting: str,
    weight_grad: bool,
) -> tuple[Tensor, Tensor]:
    """``(dtotal, dweight)``; `grad_total` is added to `dtotal`, and `dweight` is empty unless `weight_grad`."""
    acc = rstd.dtype
    wide = grad.to(acc)
    normalised = total.to(acc) * rstd[..., None]
    inner = wide * _scale(weight, offset, casting, acc)
    dtotal = rstd[..., None] * (inner - normalised * (inner * normalised).mean(-1, keepdim=True))
    if grad_total is not None:
        dtotal = dtotal + grad_total.to(acc)
    dtotal = dtotal.to(total.dtype).contiguous()
    if weight is None or not weight_grad:
        return dtotal, total.new_empty(0)
    rounded = _normalised(total, rstd, casting)
    dweight = (wide * rounded).reshape(-1, total.shape[-1]).sum(0)
    return dtotal, dweight.to(weight.dtype)


def _normalised(total: Tensor, rstd: Tensor, casting: str) -> Tensor:
    """What the weight multiplies, rounded as `casting` says, in the dtype of `rstd`."""
    normalised = total.to(rstd.dtype) * rstd[..., None]
    return normalised if casting == "gemma" else normalised.to(total.dtype).to(rstd.dtype)


def _scale(weight: Tensor | None, offset: float, casting: str, acc: torch.dtype) -> Tensor | float:
    if weight is None:
        return 1.0
    return (weight + offset).to(acc) if casting == "none" else weight.to(acc) + offset
