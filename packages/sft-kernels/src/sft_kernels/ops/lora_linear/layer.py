"""A linear layer with an adapter as the ops take it: checked, in one dtype, and as a flat list of tensors."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sft_kernels import dispatch
from sft_kernels.ops.dequantize import QuantState, dequantize
from sft_kernels.registration import autocast_inputs

__all__ = ["PARTS", "Projection", "Static", "dense", "flat", "layer_of", "prepared"]


class Projection(NamedTuple):
    """A linear layer and its adapter."""

    weight: Tensor
    """``[N, K]`` of the dtype of `x`; with `quant_state` its packed bytes. Frozen: it gets no gradient."""
    a: Tensor | None = None
    """``[r, K]``; None, with `b`, is no adapter."""
    b: Tensor | None = None
    """``[N, r]``."""
    scaling: float = 1.0
    bias: Tensor | None = None
    """``[N]``."""
    quant_state: Any = None
    """A `QuantState`, or a state of bitsandbytes."""


PARTS = 9  # tensors of a layer: weight, a, b, bias, and five of a quantised weight


class Static(NamedTuple):
    """What is no tensor of a layer."""

    scaling: float
    shape: tuple[int, ...] | None
    dtype: torch.dtype
    blocksize: int
    nested_blocksize: int


def prepared(name: str, x: Tensor, layer: Projection) -> Projection:
    """A layer with everything but its weight in the dtype of `x`; checked.

    Raises:
        ValueError: see `lora_linear`.
    """
    weight, a, b, bias = layer.weight, layer.a, layer.b, layer.bias
    dispatch.refuse_sharded(name, x, weight, a, b, bias)
    state = None if layer.quant_state is None else QuantState.of(layer.quant_state)
    if state is None:
        weight: Any = autocast_inputs(weight)[0]
    shape = tuple(weight.shape) if state is None else state.shape
    if weight.requires_grad:
        raise ValueError(f"{name}: weight requires a gradient, and it is taken to be frozen; detach it")
    if len(shape) != 2 or not x.is_floating_point() or x.ndim == 0 or x.shape[-1] != shape[1]:
        raise ValueError(f"{name}: x is {x.dtype} {list(x.shape)} and weight {list(shape)}; they are [..., K], [N, K]")
    if state is None and weight.dtype != x.dtype:
        raise ValueError(f"{name}: weight is {weight.dtype} and x {x.dtype}; cast one, or pass quant_state")
    if (a is None) != (b is None):
        raise ValueError(f"{name}: one of a and b is None; pass both, or none for a layer without an adapter")
    if a is not None and b is not None and (a.ndim != 2 or a.shape[1] != shape[1] or b.shape != (shape[0], len(a))):
        raise ValueError(f"{name}: a is {list(a.shape)}, b {list(b.shape)}; for weight {list(shape)}: [r, K], [N, r]")
    if bias is not None and bias.shape != shape[:1]:
        raise ValueError(f"{name}: bias is {list(bias.shape)}; it has to be [{shape[0]}]")
    for other in (weight, a, b, bias):
        if other is not None and other.device != x.device:
            raise ValueError(f"{name}: x is on {x.device} and a part of a layer on {other.device}; move one of them")
    cast = [None if tensor is None else tensor.to(x.dtype) for tensor in (a, b, bias)]
    return Projection(weight, cast[0], cast[1], layer.scaling, cast[2], state)


def dense(layer: Projection, dtype: torch.dtype, backend: str | None) -> Tensor:
    """The layer's weight, dequantised if it is quantised."""
    if layer.quant_state is None:
        return layer.weight
    return dequantize(layer.weight, layer.quant_state, dtype=dtype, backend=backend)


def flat(layer: Projection) -> tuple[list[Tensor | None], Static]:
    """A prepared layer as `PARTS` tensors and the rest: what an ``autograd.Function`` and a compiler see through."""
    state: QuantState | None = layer.quant_state
    parts = [layer.weight, layer.a, layer.b, layer.bias]
    if state is None:
        return parts + [None] * 5, Static(layer.scaling, None, layer.weight.dtype, 0, 0)
    parts += [state.absmax, state.code, state.nested_absmax, state.nested_code, state.offset]
    return parts, Static(layer.scaling, state.shape, state.dtype, state.blocksize, state.nested_blocksize)


def layer_of(parts: Sequence[Any], static: Static) -> Projection:
    """The inverse of `flat`."""
    weight, a, b, bias, absmax, code, nested_absmax, nested_code, offset = parts
    if static.shape is None:
        return Projection(weight, a, b, static.scaling, bias)
    nested = (nested_absmax, nested_code, offset, static.nested_blocksize)
    state = QuantState(absmax, static.shape, static.dtype, code, static.blocksize, *nested)
    return Projection(weight, a, b, static.scaling, bias, state)
