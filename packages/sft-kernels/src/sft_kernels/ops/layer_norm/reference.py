"""LayerNorm in plain PyTorch: the meaning that every other implementation has to match.

The backward pass is written out. With ``n = (x - mean) * rstd``, ``g = grad * weight``, over a row::

    dx = rstd * (g - mean(g) - n * mean(g * n))
    dweight, dbias = sums over rows of grad * n, grad
"""

import torch
from torch import Tensor

from sft_kernels.launch import accumulator

__all__ = ["backward", "forward"]


def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """``(y, mean, rstd)``; mean and rstd are float32 or float64, ``[...]``."""
    wide = x.to(accumulator(x.dtype)).contiguous()  # the order of torch's sums depends on strides
    mean = wide.mean(-1)
    centred = wide - mean[..., None]
    rstd = torch.rsqrt(centred.square().mean(-1) + eps)
    y = centred * rstd[..., None]
    y = y if weight is None else y * weight.to(y.dtype)
    y = y if bias is None else y + bias.to(y.dtype)
    return y.to(x.dtype).contiguous(), mean.contiguous(), rstd.contiguous()


def backward(
    grad: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, rstd: Tensor, sums: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """``(dx, dweight, dbias)``; the last two are float32 or float64, and empty unless `sums`."""
    wide = grad.to(rstd.dtype).contiguous()
    normalised = (x.to(rstd.dtype).contiguous() - mean[..., None]) * rstd[..., None]
    inner = wide if weight is None else wide * weight.to(rstd.dtype)
    along = normalised * (inner * normalised).mean(-1, keepdim=True)
    dx = (rstd[..., None] * (inner - inner.mean(-1, keepdim=True) - along)).to(x.dtype).contiguous()
    if not sums:
        return dx, rstd.new_empty(0), rstd.new_empty(0)
    columns = x.shape[-1]
    return dx, (wide * normalised).reshape(-1, columns).sum(0), wide.reshape(-1, columns).sum(0)
