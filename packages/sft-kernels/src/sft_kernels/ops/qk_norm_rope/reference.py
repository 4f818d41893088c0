"""Norms and rotary embedding in plain PyTorch: the meaning that every other implementation has to match.

The gradient is turned back by the transposed rotation, and then goes through the norm as in `rms_norm`'s reference.
"""

import torch
from torch import Tensor

from sft_kernels.launch import accumulator
from sft_kernels.ops.rope import turned
from sft_kernels.ops.rope.reference import pairs, rotated

__all__ = ["backward", "forward"]


def forward(  # noqa: PLR0913
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None,
    eps: float,
    offset: float,
    interleaved: bool,
    half_width: bool,
) -> tuple[Tensor, Tensor]:
    """``(q', k')`` of ``[B, S, H, D]``."""
    acc = accumulator(q.dtype)
    table = pairs(cos, sin, positions, interleaved, half_width, acc)
    results: list[Tensor] = []
    for x, weight in ((q, q_weight), (k, k_weight)):
        normed = x.to(acc) * _rstd(x.to(acc), eps) * (weight.to(acc) + offset)
        results.append(
            torch.empty_like(x).copy_(rotated(normed, table, turned(cos, half_width), interleaved, back=False))
        )
    return results[0], results[1]


def backward(  # noqa: PLR0913
    grad_q: Tensor,
    grad_k: Tensor,
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None,
    eps: float,
    offset: float,
    interleaved: bool,
    half_width: bool,
    weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``(dq, dk, dweight)``; the last is ``[2, D]``, float32 or float64, and empty unless `weights`."""
    acc = accumulator(q.dtype)
    table = pairs(cos, sin, positions, interleaved, half_width, acc)
    results: list[Tensor] = []
    sums: list[Tensor] = []
    for grad, x, weight in ((grad_q, q, q_weight), (grad_k, k, k_weight)):
        back = rotated(grad.to(acc), table, turned(cos, half_width), interleaved, back=True)
        rstd = _rstd(x.to(acc), eps)
        normalised = x.to(acc) * rstd
        inner = back * (weight.to(acc) + offset)
        dx = rstd * (inner - normalised * (inner * normalised).mean(-1, keepdim=True))
        results.append(torch.empty_like(x).copy_(dx))
        sums.append((back * normalised).sum((0, 1, 2)))
    return results[0], results[1], torch.stack(sums) if weights else q.new_empty(0, dtype=acc)


def _rstd(wide: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
