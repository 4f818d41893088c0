"""Gated activations in plain PyTorch: the meaning that every other implementation has to match.

With ``z`` and ``u`` the scaled and cut inputs, ``a`` the activation: ``y = a(z) * (u + offset)``, so
``dz = grad * (u + offset) * a'(z)`` and ``du = grad * a(z)``, where nothing was cut off.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sft_kernels.launch import accumulator
from sft_kernels.ops.glu import halves

__all__ = ["backward", "forward"]


def forward(gate: Tensor, up: Tensor | None, activation: str, interleaved: bool, settings: Sequence[float]) -> Tensor:
    """The output, ``[..., N]``; without `up`, `gate` is ``[..., 2 N]``."""
    left, right = halves(gate, interleaved) if up is None else (gate, up)
    z, u, _, _ = _inputs(left, right, settings)
    value, _ = _activation(z, activation, settings[2])
    return (value * (u + settings[3])).to(gate.dtype).contiguous()


def backward(
    grad: Tensor, gate: Tensor, up: Tensor | None, activation: str, interleaved: bool, settings: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """``(dgate, dup)``; without `up`, the first is the gradient of both and the second is empty."""
    left, right = halves(gate, interleaved) if up is None else (gate, up)
    z, u, z_kept, u_kept = _inputs(left, right, settings)
    value, slope = _activation(z, activation, settings[2])
    wide = grad.to(z.dtype)
    dleft = torch.where(z_kept, wide * (u + settings[3]) * slope * settings[0], 0.0).to(gate.dtype)
    dright = torch.where(u_kept, wide * value, 0.0).to(gate.dtype)
    if up is not None:
        return dleft.contiguous(), dright.contiguous()
    together = torch.stack((dleft, dright), -1).flatten(-2) if interleaved else torch.cat((dleft, dright), -1)
    return together, gate.new_empty(0)


def _inputs(left: Tensor, right: Tensor, settings: Sequence[float]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both in the wide dtype, cut, and where nothing was cut off."""
    multiplier, limit = settings[:2]
    acc = accumulator(left.dtype)
    z, u = left.to(acc) * multiplier, right.to(acc)
    return z.clamp(max=limit), u.clamp(-limit, limit), ~(z > limit), ~(u.abs() > limit)


def _activation(z: Tensor, name: str, alpha: float) -> tuple[Tensor, Tensor]:
    """Value and derivative."""
    if name == "silu":
        p = torch.sigmoid(alpha * z)
        return z * p, p * (1 + alpha * z * (1 - p))
    if name == "gelu_tanh":
        scale, cubic = math.sqrt(2 / math.pi), 0.044715
        p = torch.sigmoid(2 * scale * (z + cubic * z**3))
        return z * p, p + 2 * z * p * (1 - p) * scale * (1 + 3 * cubic * z**2)
    p = 0.5 * (1 + torch.erf(z * math.sqrt(0.5)))
    return z * p, p + z * torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
