"""Linear layers with a low-rank adapter (LoRA, Hu et al., arXiv:2106.09685), over dense or quantised weights.

``y = x W^T + scaling (x A^T) B^T + bias``, with W ``[N, K]``, A ``[r, K]``, B ``[N, r]``, as PEFT holds them. The
adapter's product is added to the base's in the memory of the result, ``W + scaling B A`` is never made, and every
intermediate product has a rank-r side::

    dxa = scaling dy B      dA = dxa^T x      dB = scaling dy^T (x A^T)      dx = dy W + dxa A

A quantised weight is dequantised for the product and again in the backward pass, and not kept in between. The
products are torch's (cuBLAS on a GPU). A kernel that fuses the adapter's product would save reading and writing the
result once, by arithmetic a tenth of the time at 4096 x 4096, and would have to be that near to cuBLAS.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.ops.lora_linear.layer import PARTS, Projection, dense, flat, layer_of, prepared
from sft_kernels.registration import RawOp, autocast_inputs, define

__all__ = ["Projection", "lora_linear", "lora_qkv"]


def lora_linear(  # noqa: PLR0913
    x: Tensor,
    weight: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    scaling: float,
    bias: Tensor | None = None,
    *,
    quant_state: Any = None,
    dropout_x: Tensor | None = None,
    magnitude: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """``x W^T + scaling (x A^T) B^T + bias``, with exact gradients for `x`, A, B and the bias.

    The products are in the dtype of `x`, to which a quantised weight is dequantised and A, B and the bias are cast,
    with float32 sums; under autocast everything is cast as ``torch.nn.functional.linear`` would. Gradients have the
    dtypes of what they are of. The weight is frozen.

    Args:
        x: ``[..., K]``, floating-point.
        weight: ``[N, K]``, of the dtype of `x`; or the packed bytes that `quant_state` describes.
        a: ``[r, K]``; None, with `b`, is no adapter.
        b: ``[N, r]``.
        scaling: multiplies the adapter's product.
        bias: ``[N]``.
        quant_state: a `QuantState`, or a state of bitsandbytes (4 bits, or CB and SCB of int8).
        dropout_x: `x` after dropout, which the adapter takes instead of `x`; it gets a gradient of its own.
        magnitude: of DoRA, which is refused.
        backend: what dequantises: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`).

    Returns:
        ``[..., N]`` in the dtype of `x`, contiguous.

    Differentiable once; deterministic. `x`, `dropout_x` and ``x A^T`` are saved for the backward pass.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit; a weight that requires a gradient; DoRA.
    """
    if magnitude is not None:
        raise ValueError(
            "lora_linear: magnitude is given, and DoRA is not fused; multiply lora_linear without bias by"
            " magnitude / norm of the rows of W + scaling B A, or leave the layer to PEFT"
        )
    layer = Projection(weight, a, b, scaling, bias, quant_state)
    return _apply("lora_linear", x, dropout_x, [layer], backend)[0]


def lora_qkv(
    x: Tensor, *layers: Projection, dropout_x: Tensor | None = None, backend: str | None = None
) -> tuple[Tensor, ...]:
    """`lora_linear` of one `x` for several layers (queries, keys and values), as one node of the graph.

    `x` is saved once, its gradient is summed in the memory of the first layer's, and one weight at a time is
    dequantised. With `dropout_x` all adapters see the same dropout.

    Args:
        x: ``[..., K]``.
        layers: each a `Projection`, of widths of their own.
        dropout_x: see `lora_linear`.
        backend: see `lora_linear`.

    Returns:
        ``[..., N]`` of each layer.

    Raises:
        ValueError: see `lora_linear`.
    """
    return _apply("lora_qkv", x, dropout_x, layers, backend)


class How(NamedTuple):
    """Which implementations run: of the products, and of what dequantises (None chooses)."""

    products: str
    dequantize: str | None


def forward_of(x: Tensor, dropped: Tensor | None, layer: Projection, how: How) -> tuple[Tensor, Tensor]:
    """``(y, x A^T)`` of a prepared layer; the second is empty without an adapter."""
    weight = dense(layer, x.dtype, how.dequantize)
    return torch.ops.sft_kernels.lora_linear_forward(
        x, dropped, weight, layer.a, layer.b, layer.bias, layer.scaling, how.products
    )


class Gradients(NamedTuple):
    """Of a layer; None where none is wanted."""

    x: Tensor | None
    dropped: Tensor | None
    a: Tensor | None
    b: Tensor | None
    bias: Tensor | None


def backward_of(  # noqa: PLR0913
    grad: Tensor,
    x: Tensor,
    dropped: Tensor | None,
    xa: Tensor,
    layer: Projection,
    wanted: Sequence[bool],
    how: How,
) -> Gradients:
    """Gradients of x, dropped, A, B, bias, those that are `wanted` in that order."""
    weight = dense(layer, x.dtype, how.dequantize) if wanted[0] else None
    found = torch.ops.sft_kernels.lora_linear_backward(
        grad, x, dropped, xa, weight, layer.a, layer.b, layer.scaling, list(wanted), how.products
    )
    return Gradients(*[gradient if want else None for gradient, want in zip(found, wanted, strict=True)])


def _apply(
    name: str, x: Tensor, dropped: Tensor | None, layers: Sequence[Projection], backend: str | None
) -> tuple[Tensor, ...]:
    if not layers:
        raise ValueError(f"{name}: no layer is given; pass at least one Projection")
    if dropped is not None and dropped.shape != x.shape:
        raise ValueError(f"{name}: dropout_x is {list(dropped.shape)} and x {list(x.shape)}; make them the same")
    x, dropped = autocast_inputs(x, dropped)  # pyright: ignore[reportAssignmentType]
    dropped = None if dropped is None else dropped.to(x.dtype)
    parts, statics = [], []
    for layer in layers:
        tensors, static = flat(prepared(name, x, layer))
        parts += tensors
        statics.append(static)
    how = How(dispatch.choose("lora_linear", None, x), backend)
    return _LoraLinear.apply(x, dropped, tuple(statics), how, *parts)


class _LoraLinear(torch.autograd.Function):
    """Layers that share their input, each as `PARTS` tensors."""

    @staticmethod
    def forward(ctx: Any, x, dropped, statics, how, *parts):
        layers = layers_of(parts, statics)
        found = [forward_of(x, dropped, layer, how) for layer in layers]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, dropped, *[xa for _, xa in found], *parts)
        ctx.statics, ctx.how = statics, how
        return tuple(y for y, _ in found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, dropped, *rest = ctx.saved_tensors
        hidden, parts = rest[: len(grads)], rest[len(grads) :]
        dx, ddropped, found = None, None, []
        for i, (grad, layer) in enumerate(zip(grads, layers_of(parts, ctx.statics), strict=True)):
            if grad is None:
                found += [None] * PARTS
                continue
            needs = ctx.needs_input_grad[4 + PARTS * i :][1:4]
            wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1] and layer.a is not None, *needs]
            gradients = backward_of(grad, x, dropped, hidden[i], layer, wanted, ctx.how)
            dx, ddropped = plus(dx, gradients.x), plus(ddropped, gradients.dropped)
            found += [None, *gradients[2:], *[None] * 5]
        return dx, ddropped, None, None, *found


def layers_of(parts: Sequence[Any], statics: Sequence[Any]) -> list[Projection]:
    """The layers that were made flat one after another."""
    return [layer_of(parts[PARTS * i : PARTS * (i + 1)], static) for i, static in enumerate(statics)]


def plus(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    """The sum, in the memory of `total`, which is nobody else's."""
    if total is None or more is None:
        return more if total is None else total
    return total.add_(more)


def _never(*_: Any) -> None:
    """Products of torch run everywhere."""


def _fake_forward(x, dropped, weight, a, b, bias, scaling):  # noqa: PLR0913
    hidden = x.new_empty(0) if a is None else x.new_empty(*x.shape[:-1], a.shape[0])
    return x.new_empty(*x.shape[:-1], weight.shape[0]), hidden


def _fake_backward(grad, x, dropped, xa, weight, a, b, scaling, wanted):  # noqa: PLR0913
    shapes = (x.shape, x.shape, 0 if a is None else a.shape, 0 if b is None else b.shape, grad.shape[-1:])
    return tuple(x.new_empty(shape if want else 0) for shape, want in zip(shapes, wanted, strict=True))


define(
    "lora_linear",
    RawOp(
        "forward",
        "(Tensor x, Tensor? dropped, Tensor weight, Tensor? a, Tensor? b, Tensor? bias, float scaling)"
        " -> (Tensor y, Tensor xa)",
        _fake_forward,
    ),
    RawOp(
        "backward",
        "(Tensor grad, Tensor x, Tensor? dropped, Tensor xa, Tensor? weight, Tensor? a, Tensor? b, float scaling,"
        " bool[] wanted) -> (Tensor dx, Tensor ddropped, Tensor da, Tensor db, Tensor dbias)",
        _fake_backward,
    ),
)
dispatch.add("lora_linear", dispatch.Implementation("torch", _never, "sft_kernels.ops.lora_linear.products"))
