"""Dequantisation in plain PyTorch, in float32."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

__all__ = ["blockwise", "rowwise"]

ONE_127TH = 7.874015718698502e-3


def blockwise(  # noqa: PLR0913
    packed: Tensor,
    absmax: Tensor,
    code: Tensor,
    nested_absmax: Tensor | None,
    nested_code: Tensor | None,
    offset: Tensor | None,
    blocksize: int,
    nested_blocksize: int,
    shape: Sequence[int],
    dtype: torch.dtype,
) -> Tensor:
    """``shape``; 4 bits an element where `code` has 16 values, else 8."""
    if nested_absmax is not None and nested_code is not None and offset is not None:
        absmax = _scaled(nested_code[absmax.flatten().int()], nested_absmax, nested_blocksize) + offset
    indices = packed.flatten().int()
    if code.numel() == 16:
        indices = torch.stack((indices >> 4, indices & 15), -1).flatten()[: prod(shape)]
    return _scaled(code[indices], absmax, blocksize).to(dtype).reshape(tuple(shape))


def rowwise(quantised: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """``[N, K]``."""
    return (quantised.float() * scale.view(-1, 1) * ONE_127TH).to(dtype)


def _scaled(values: Tensor, scales: Tensor, blocksize: int) -> Tensor:
    return values * scales.flatten().repeat_interleave(blocksize)[: values.numel()]
