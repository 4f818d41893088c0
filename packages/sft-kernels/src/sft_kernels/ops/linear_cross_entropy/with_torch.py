"""The head in parts, each part's logits in plain PyTorch: for CPUs, and where triton is missing.

Exponentials are taken in place. Two passes over the logits are saved by keeping them from the statistics to the
gradient: the division by their sum is left to the multiplication by the slopes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sft_kernels.launch import accumulator
from sft_kernels.ops.cross_entropy.statistics import ELSEWHERE
from sft_kernels.ops.linear_cross_entropy.chunked import Rows, implementation
from sft_kernels.ops.linear_cross_entropy.settings import Settings

__all__ = ["backward", "forward", "gradient", "kept", "statistics"]


class Kept(NamedTuple):
    """From the statistics to the gradient."""

    logits: Tensor  # the chunk's memory, in the dtype of the gradient
    powers: Tensor  # proportional to p
    sums: Tensor | None  # [n, 1], of the powers; None where they are p
    z: Tensor | None  # where the gradient needs it


def statistics(logits: Tensor, target: Tensor, how: Settings) -> tuple[Tensor, Kept]:
    """See `chunked.Rows`."""
    z, needed = _capped(logits, how)
    top = z.amax(1, keepdim=True)
    inside = (target >= 0) & (target < z.shape[1])
    chosen = torch.where(inside, z.gather(1, torch.where(inside, target, 0)[:, None])[:, 0], float("nan"))
    total = z.sum(1) if how.smoothing else torch.zeros_like(chosen)
    powers = (z - top if needed else z.sub_(top)).exp_()
    sums = powers.sum(1, keepdim=True)
    log_sum = sums.log()
    lse = (top + log_sum)[:, 0]
    logprob = torch.where(target == ELSEWHERE, -lse, chosen - top[:, 0] - log_sum[:, 0])
    entropy = torch.zeros_like(lse)
    if how.entropy:
        entropy = log_sum[:, 0] - (powers * (z - top)).sum(1) / sums[:, 0]
    return torch.stack((logprob, lse, total, entropy)), Kept(logits, powers, sums, z if needed else None)


def kept(logits: Tensor, statistics: Tensor, how: Settings) -> Kept:
    """See `chunked.Rows`."""
    z, needed = _capped(logits, how)
    lse = statistics[1][:, None]
    powers = (z - lse if needed else z.sub_(lse)).exp_()
    return Kept(logits, powers, None, z if needed else None)


def gradient(kept: Kept, target: Tensor, statistics: Tensor, slopes: Tensor, how: Settings) -> Tensor:
    """See `chunked.Rows`."""
    on_p, on_plogp, on_all, on_target = slopes[..., None].unbind()
    dz, z = kept.powers, kept.z
    if how.entropy and z is not None:
        on_p = on_p + on_plogp * (z - statistics[1][:, None])
    dz.mul_(on_p if kept.sums is None else on_p / kept.sums)
    if how.smoothing:
        dz.add_(on_all)
    place = torch.where((target >= 0) & (target < dz.shape[1]), target, 0)[:, None]
    dz.scatter_(1, place, dz.gather(1, place) + torch.where(target[:, None] >= 0, on_target, 0.0))
    if how.softcap and z is not None:
        dz.mul_(1 - (z / how.softcap).square())
    if how.scale != 1:
        dz.mul_(how.scale)
    return dz if dz.dtype == kept.logits.dtype else kept.logits.copy_(dz)


def _capped(logits: Tensor, how: Settings) -> tuple[Tensor, bool]:
    """z, in the memory of the logits where their dtype is wide enough; and whether the gradient needs it."""
    z = logits.to(accumulator(logits.dtype))
    if how.scale != 1:
        z.mul_(how.scale)
    if how.softcap:
        z.div_(how.softcap).tanh_().mul_(how.softcap)
    return z, bool(how.softcap or how.entropy)


forward, backward = implementation(Rows(statistics, kept, gradient))
