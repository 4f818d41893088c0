"""The head and its loss in plain PyTorch, with all logits at once in float32 or float64: the meaning of the op."""

from typing import Any

from torch import Tensor

from sft_kernels.launch import accumulator
from sft_kernels.ops.cross_entropy import reference as rows
from sft_kernels.ops.cross_entropy.statistics import slopes, token_slopes
from sft_kernels.ops.linear_cross_entropy.settings import Operands, Settings, held

__all__ = ["backward", "forward"]


def forward(*args: Any) -> tuple[Tensor, ...]:
    """Statistics ``[4, N]``, and gradients of the weighted sum of the losses, empty where they are not needed."""
    operands, (target, weights, needs, *settings) = Operands(*args[:5]), args[5:]
    how = Settings(*settings)
    logits = _logits(operands)
    found = rows.forward(logits, target, how.scale, how.softcap, how.smoothing > 0, how.entropy)
    by = token_slopes(found, weights, how.smoothing, how.z_loss, how.vocabulary)
    return found, *_gradients(operands, target, found, slopes(found, by), needs, how)


def backward(*args: Any) -> tuple[Tensor, ...]:
    """Gradients from the slopes of the statistics, ``[4, N]``."""
    operands, (target, found, by, needs, *settings) = Operands(*args[:5]), args[5:]
    return _gradients(operands, target, found, by, needs, Settings(*settings))


def _logits(operands: Operands) -> Tensor:
    acc = accumulator(operands.x.dtype)
    x, weight, low_x, low_weight, bias = (None if each is None else each.to(acc) for each in operands)
    assert x is not None
    assert weight is not None
    logits = x @ weight.T
    if low_x is not None and low_weight is not None:
        logits = logits + low_x @ low_weight.T
    return logits if bias is None else logits + bias


def _gradients(
    operands: Operands, target: Tensor, found: Tensor, by: Tensor, needs: list[bool], how: Settings
) -> tuple[Tensor, ...]:
    x, weight, low_x, low_weight, _ = operands
    if not any(needs):
        return tuple(x.new_empty(0) for _ in needs)
    dlogits = rows.backward(_logits(operands), target, found, by, how.scale, how.softcap)
    acc = dlogits.dtype
    made = (
        dlogits @ weight.to(acc),
        dlogits.T @ x.to(acc),
        None if low_weight is None else dlogits @ low_weight.to(acc),
        None if low_x is None else dlogits.T @ low_x.to(acc),
        dlogits.sum(0),
    )
    return tuple(
        x.new_empty(0) if of is None or gradient is None or not need else gradient.to(held(of))
        for gradient, of, need in zip(made, operands, needs, strict=True)
    )
