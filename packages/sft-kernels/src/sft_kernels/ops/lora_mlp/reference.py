"""The gated activation in plain PyTorch, its backward pass written out."""

from math import pi, sqrt

import torch
from torch import Tensor

from sft_kernels.launch import accumulator

__all__ = ["backward", "forward"]


def forward(gated: Tensor, lifted: Tensor, act: str) -> Tensor:
    """``act(gated) * lifted``, of their shape."""
    acc = accumulator(gated.dtype)
    return (_activated(gated.to(acc), act)[0] * lifted.to(acc)).to(gated.dtype)


def backward(grad: Tensor, gated: Tensor, lifted: Tensor, act: str) -> tuple[Tensor, Tensor, Tensor]:
    """``(product, dgated, dlifted)``."""
    acc = accumulator(gated.dtype)
    activated, slope = _activated(gated.to(acc), act)
    wide, up = grad.to(acc), lifted.to(acc)
    found = (activated * up, wide * up * slope, wide * activated)
    product, dgated, dlifted = (value.to(gated.dtype) for value in found)
    return product, dgated, dlifted


def _activated(x: Tensor, act: str) -> tuple[Tensor, Tensor]:
    """The activation and its slope."""
    if act == "silu":
        sigmoid = torch.sigmoid(x)
        return x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))
    inner = sqrt(2 / pi) * (x + 0.044715 * x * x * x)
    cdf = torch.sigmoid(2 * inner)  # (1 + tanh(inner)) / 2
    return x * cdf, cdf + x * cdf * (1 - cdf) * 2 * sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)
