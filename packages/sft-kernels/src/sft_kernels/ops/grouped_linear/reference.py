"""Grouped products as a loop over experts, in plain PyTorch; it reads the offsets (host sync)."""

from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["rows", "weights"]


def rows(x: Tensor, weight: Tensor, offsets: Tensor, transposed: bool) -> Tensor:
    """``[T, N]``, of ``x[t] W[e]^T``; or ``[T, K]``, of ``x[t] W[e]``, if not `transposed`."""
    out = x.new_empty(x.shape[0], weight.shape[1] if transposed else weight.shape[2])
    x, weight = x.contiguous(), weight.contiguous()
    for expert, (start, end) in enumerate(_ranges(offsets)):
        torch.mm(x[start:end], weight[expert].t() if transposed else weight[expert], out=out[start:end])
    return out


def weights(grad: Tensor, x: Tensor, offsets: Tensor) -> Tensor:
    """``[E, N, K]``: of each expert the sum over its tokens of ``grad[t]^T x[t]``."""
    out = x.new_empty(offsets.shape[0] - 1, grad.shape[1], x.shape[1])
    grad, x = grad.contiguous(), x.contiguous()
    for expert, (start, end) in enumerate(_ranges(offsets)):
        torch.mm(grad[start:end].t(), x[start:end], out=out[expert])
    return out


def _ranges(offsets: Tensor) -> list[tuple[int, int]]:
    return list(pairwise(offsets.tolist()))
