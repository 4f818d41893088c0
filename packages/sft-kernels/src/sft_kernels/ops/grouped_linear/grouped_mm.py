"""Grouped products by ``torch.nn.functional.grouped_mm``: CUTLASS on Hopper and newer, a loop elsewhere."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["rows", "weights"]

_grouped_mm: Any = getattr(torch.nn.functional, "grouped_mm", None)


def rows(x: Tensor, weight: Tensor, offsets: Tensor, transposed: bool) -> Tensor:
    """As the reference's rows."""
    if x.shape[0] == 0:  # which the loop on the CPU refuses
        return x.new_empty(0, weight.shape[1] if transposed else weight.shape[2])
    weight = weight.contiguous()
    return _grouped_mm(x.contiguous(), weight.transpose(1, 2) if transposed else weight, offs=offsets[1:]).contiguous()


def weights(grad: Tensor, x: Tensor, offsets: Tensor) -> Tensor:
    """As the reference's weights."""
    if x.shape[0] == 0:
        return x.new_zeros(offsets.shape[0] - 1, grad.shape[1], x.shape[1])
    return _grouped_mm(grad.contiguous().t(), x.contiguous(), offs=offsets[1:]).contiguous()
