"""Statistics of logits and the gradient, in plain PyTorch: the meaning that every other implementation has to match."""

import torch
from torch import Tensor

from sft_kernels.launch import accumulator
from sft_kernels.ops.cross_entropy import check_targets
from sft_kernels.ops.cross_entropy.statistics import ELSEWHERE, IGNORED

__all__ = ["backward", "forward"]


def forward(logits: Tensor, target: Tensor, scale: float, softcap: float, total: bool, entropy: bool) -> Tensor:
    """Statistics ``[4, N]``; `total` and `entropy` are zeros where they are not asked for."""
    check_targets("cross_entropy", target, logits.shape[1])
    z = _capped(logits, scale, softcap)
    chosen, absent = _chosen(z, target)
    top = z.amax(1) if z.shape[0] else z.new_empty(0)
    log_sum = (z - top[:, None]).exp().sum(1).log()
    lse = top + log_sum
    logprob = torch.where(absent, 0.0, chosen - top) - torch.where(absent, lse, log_sum)
    zero = torch.zeros_like(lse)
    shift = z - top[:, None]
    spread = log_sum - (shift.exp() * shift).sum(1) / log_sum.exp() if entropy else zero
    found = torch.stack((logprob, lse, z.sum(1) if total else zero, spread))
    return torch.where(target == IGNORED, 0.0, found)


def backward(
    logits: Tensor, target: Tensor, statistics: Tensor, slopes: Tensor, scale: float, softcap: float
) -> Tensor:
    """The gradient of the logits, of their shape and dtype."""
    z = _capped(logits, scale, softcap)
    on_p, on_plogp, on_all, on_target = slopes[..., None].unbind()
    logp = z - statistics[1][:, None]
    dz = logp.exp() * (on_p + on_plogp * logp) + on_all
    columns = torch.arange(z.shape[1], device=z.device)
    dz = dz + on_target * (columns == target[:, None])
    if softcap:
        dz = dz * (1 - (z / softcap).square())
    return torch.where(target[:, None] == IGNORED, 0.0, dz * scale).to(logits.dtype)


def _capped(logits: Tensor, scale: float, softcap: float) -> Tensor:
    z = logits.to(accumulator(logits.dtype)) * scale
    return softcap * torch.tanh(z / softcap) if softcap else z


def _chosen(z: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's z at its target, NaN outside the vocabulary; and where there is no target here."""
    inside = (target >= 0) & (target < z.shape[1])
    chosen = z.gather(1, torch.where(inside, target, 0)[:, None])[:, 0]
    return torch.where(inside, chosen, float("nan")), target == ELSEWHERE
