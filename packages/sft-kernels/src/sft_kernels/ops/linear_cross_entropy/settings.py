"""What the implementations of linear_cross_entropy are called with besides tensors."""

from typing import NamedTuple

import torch
from torch import Tensor

from sft_kernels.launch import accumulator

__all__ = ["Operands", "Settings", "fake_gradients", "held"]


class Settings(NamedTuple):
    """In the order of the raw ops' arguments."""

    scale: float
    softcap: float
    """0 for none."""
    smoothing: float
    z_loss: float
    vocabulary: int
    """Of all processes together."""
    entropy: bool
    n_valid: int | None
    chunk_tokens: int | None


class Operands(NamedTuple):
    """What logits are made of: ``x @ weight.T + low_x @ low_weight.T + bias``, all of one dtype."""

    x: Tensor  # [N, H]
    weight: Tensor  # [V, H]
    low_x: Tensor | None  # [N, r]
    low_weight: Tensor | None  # [V, r]
    bias: Tensor | None  # [V]


def held(tensor: Tensor) -> torch.dtype:
    """The dtype of a gradient that waits for its factor: a sum over tokens can be too large for float16."""
    return accumulator(tensor.dtype) if tensor.dtype == torch.float16 else tensor.dtype


def fake_gradients(operands: Operands, needs: list[bool]) -> list[Tensor]:
    """Memory of the gradients that are needed; nothing of the others."""
    like = operands.x
    return [
        like.new_empty(each.shape, dtype=held(each)) if each is not None and need else like.new_empty(0)
        for each, need in zip(operands, needs, strict=True)
    ]
