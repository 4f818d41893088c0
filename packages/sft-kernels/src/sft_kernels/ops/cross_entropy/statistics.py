"""What the loss of a token needs to know of its row of logits, and the losses that are made of it.

With ``z = softcap(scale * logits)`` over a vocabulary of V, target t and p the softmax of z, a row has four::

    logprob = z[t] - lse             lse   = log(sum exp(z))
    entropy = -sum p * log(p)        total = sum z

Negative log-likelihood, label smoothing and z-loss are sums and products of these, so they are written once, in plain
PyTorch over ``[N]``, and autograd differentiates them. Where the derivatives of a loss by the statistics are
known, the gradient of z is::

    dz = p * (on_p + on_plogp * log(p)) + on_all + on_target * [j = t]

`slopes` gives the four. All tensors here are float32, float64 for float64 inputs.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["ELSEWHERE", "IGNORED", "Reduction", "coded", "divided", "reduced", "slopes", "token_losses", "token_slopes"]

Reduction = Literal["mean", "sum", "none"]
IGNORED, ELSEWHERE = -1, -2
"""Codes of targets: a token without a loss, and a token whose target is in another process's part of the vocabulary.

A target that is outside the vocabulary altogether is coded as V, and gives NaN.
"""


class Part(NamedTuple):
    """Which ids of a vocabulary the logits are of."""

    start: int
    size: int
    vocabulary: int


def coded(target: Tensor, ignore_index: int, part: Part) -> Tensor:
    """Targets ``[N]`` as places in a part of the vocabulary, or as one of the codes."""
    local = target - part.start
    known = (target >= 0) & (target < part.vocabulary)
    here = (local >= 0) & (local < part.size)
    place = torch.where(known, torch.where(here, local, ELSEWHERE), part.size)
    return torch.where(target == ignore_index, IGNORED, place)


def token_losses(statistics: Tensor, smoothing: float, z_loss: float, vocabulary: int) -> Tensor:
    """Losses ``[N]`` from statistics ``[4, N]``: ``(1 - s) * nll + s * mean(lse - z) + z_loss * lse**2``."""
    logprob, lse, total, _ = statistics.unbind()
    losses = -logprob
    if smoothing:
        losses = (1 - smoothing) * losses + smoothing * (lse - total / vocabulary)
    return losses + z_loss * lse.square() if z_loss else losses


def token_slopes(
    statistics: Tensor, weights: Tensor | None, smoothing: float, z_loss: float, vocabulary: int
) -> Tensor:
    """Derivatives ``[4, N]`` of the sum of weighted `token_losses` by the statistics."""
    lse = statistics[1]
    by = torch.zeros_like(statistics)
    by[0] = smoothing - 1
    by[1] = smoothing + 2 * z_loss * lse
    by[2] = -smoothing / vocabulary
    return by if weights is None else by * weights


def slopes(statistics: Tensor, by: Tensor) -> Tensor:
    """``on_p, on_plogp, on_all, on_target``, ``[4, N]``, from the derivatives by the statistics, ``[4, N]``."""
    logprob, lse, total, entropy = by.unbind()
    return torch.stack((lse - logprob - entropy * statistics[3], -entropy, total, logprob))


def reduced(
    losses: Tensor, weights: Tensor | None, target: Tensor, reduction: Reduction, num_items: Tensor | float | None
) -> Tensor:
    """Losses ``[N]`` weighted and reduced. A denominator of zero counts as one: without targets the loss is 0.

    Args:
        losses: 0 for ignored tokens.
        weights: ``[N]`` or None.
        target: ``[N]``, coded.
        reduction: "mean" divides by the weights of all tokens with a loss, or by `num_items`.
        num_items: a number, or a scalar on the device.
    """
    if weights is not None:
        losses = losses * weights
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else divided(total, weights, target, num_items)


def divided(total: Tensor, weights: Tensor | None, target: Tensor, num_items: Tensor | float | None) -> Tensor:
    """The sum of losses by the denominator of "mean"; see `reduced`."""
    if num_items is None:
        counted = (target != IGNORED).to(total.dtype)
        num_items = (counted if weights is None else counted * weights.detach()).sum()
    if not isinstance(num_items, Tensor):
        return total / (num_items or 1)
    return total / torch.where(num_items == 0, torch.ones_like(num_items), num_items)
