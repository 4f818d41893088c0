"""Two ways through autograd: a sum whose gradients are computed with it, and statistics that any loss is made of."""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from sft_kernels.ops.cross_entropy.statistics import slopes, token_losses
from sft_kernels.ops.linear_cross_entropy.shard import combined

__all__ = ["SummedLoss", "TokenStatistics"]

NOTHING = [False] * 5


class SummedLoss(torch.autograd.Function):
    """Operands, coded targets and weights to the weighted sum of losses and the statistics ``[4, N]``.

    The gradients of the sum are saved. The backward pass multiplies them into memory of its own.
    """

    @staticmethod
    def forward(ctx: Any, x, weight, low_x, low_weight, bias, target, token_weight, how, backend):  # noqa: PLR0913
        """Sum and statistics."""
        operands, needs = (x, weight, low_x, low_weight, bias), list(ctx.needs_input_grad[:5])
        rows, *gradients = torch.ops.sft_kernels.linear_cross_entropy_forward(
            *operands, target, token_weight, needs, *how, backend
        )
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [each.dtype if need else None for each, need in zip(operands, needs, strict=True)]
        ctx.mark_non_differentiable(rows)
        losses = token_losses(rows, how.smoothing, how.z_loss, how.vocabulary)
        return (losses if token_weight is None else losses * token_weight).sum(), rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor, _):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The gradients, times the factor."""
        scaled = [
            None if dtype is None else (gradient * factor).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return *scaled, None, None, None, None


class TokenStatistics(torch.autograd.Function):
    """Operands and coded targets to statistics ``[4, N]``, over all parts of a vocabulary that is split."""

    @staticmethod
    def forward(ctx: Any, x, weight, low_x, low_weight, bias, target, how, backend, shard):  # noqa: PLR0913
        """The statistics."""
        operands = x, weight, low_x, low_weight, bias
        rows = torch.ops.sft_kernels.linear_cross_entropy_forward(*operands, target, None, NOTHING, *how, backend)[0]
        if shard is not None:
            rows = combined(rows, target, shard)
        ctx.save_for_backward(*operands, target, rows)
        ctx.how = how, backend, shard
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The gradients, from the logits computed again."""
        *operands, target, rows = ctx.saved_tensors
        how, backend, shard = ctx.how
        needs = list(ctx.needs_input_grad[:5])
        found = torch.ops.sft_kernels.linear_cross_entropy_backward(
            *operands, target, rows, slopes(rows, by), needs, *how, backend
        )
        gradients: list[Tensor | None] = [
            gradient.to(each.dtype) if need else None
            for gradient, each, need in zip(found, operands, needs, strict=True)
        ]
        if shard is not None:
            for gradient in (gradients[0], gradients[2]):  # of the tokens, which all processes have
                if gradient is not None:
                    distributed.all_reduce(gradient, group=shard.group)
        return *gradients, None, None, None, None
