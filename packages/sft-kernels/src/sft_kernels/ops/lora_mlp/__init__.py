"""A gated MLP whose three linear layers have adapters, as one node of the graph.

``down(act(gate(x)) * up(x))`` with the layers of `lora_linear`. Saved are `x` and the outputs of gate and up; the
product of them, which is as large as either, is made again in the backward pass, in one pass over memory that makes
their gradients too.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.ops.lora_linear import How, backward_of, forward_of, layers_of, plus
from sft_kernels.ops.lora_linear.layer import PARTS, Projection, flat, prepared
from sft_kernels.registration import RawOp, autocast_inputs, define

__all__ = ["Activation", "lora_mlp"]

Activation = Literal["silu", "gelu_tanh"]
ACTIVATIONS = ("silu", "gelu_tanh")


def lora_mlp(
    x: Tensor,
    gate: Projection,
    up: Projection,
    down: Projection,
    *,
    act: Activation = "silu",
    backend: str | None = None,
) -> Tensor:
    """``down(act(gate(x)) * up(x))``, with exact gradients for `x`, and A, B and bias of each layer.

    Args:
        x: ``[..., K]``, float64, float32, bfloat16 or float16.
        gate: ``[N, K]``; what each holds, and which dtypes are computed in: `Projection` and `lora_linear`.
        up: ``[N, K]``.
        down: ``[M, N]``.
        act: ``"silu"``, or ``"gelu_tanh"``, the approximation of GELU by tanh. Computed in float32 (float64 for
            float64) and rounded once, after the product.
        backend: of the activation and of what dequantises: ``"triton"`` or ``"reference"``; None chooses.

    Returns:
        ``[..., M]`` in the dtype of `x`.

    Differentiable once; deterministic. Saved tensors are not written to.

    Raises:
        ValueError: see `lora_linear`; layers that do not fit one another; another `act`.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"lora_mlp: act is {act!r}; it has to be one of {', '.join(ACTIVATIONS)}")
    x = autocast_inputs(x)[0]  # pyright: ignore[reportAssignmentType]
    ready = [prepared("lora_mlp", x, layer) for layer in (gate, up)]
    width = [layer.weight.shape[0] if layer.quant_state is None else layer.quant_state.shape[0] for layer in ready]
    if width[0] != width[1]:
        raise ValueError(f"lora_mlp: gate has {width[0]} outputs and up {width[1]}; make them the same")
    ready.append(prepared("lora_mlp", x.new_empty(0, width[0]), down))
    chosen = dispatch.choose("lora_mlp", backend, x)
    parts, statics = [], []
    for layer in ready:
        tensors, static = flat(layer)
        parts += tensors
        statics.append(static)
    how = How(dispatch.choose("lora_linear", None, x), backend)
    return _LoraMlp.apply(x, tuple(statics), act, chosen, how, *parts)


class _LoraMlp(torch.autograd.Function):
    """Gate, up and down, each as `PARTS` tensors."""

    @staticmethod
    def forward(ctx: Any, x, statics, act, chosen, how, *parts):
        gate, up, down = layers_of(parts, statics)
        gated, gate_xa = forward_of(x, None, gate, how)
        lifted, up_xa = forward_of(x, None, up, how)
        product = torch.ops.sft_kernels.lora_mlp_forward(gated, lifted, act, chosen)
        y, down_xa = forward_of(product, None, down, how)
        ctx.save_for_backward(x, gated, lifted, gate_xa, up_xa, down_xa, *parts)
        ctx.how = statics, act, chosen, how
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, gated, lifted, gate_xa, up_xa, down_xa, *parts = ctx.saved_tensors
        statics, act, chosen, how = ctx.how
        gate, up, down = layers_of(parts, statics)
        needs = [ctx.needs_input_grad[5 + PARTS * i :][1:4] for i in range(3)]
        inner = ctx.needs_input_grad[0] or any(needs[0]) or any(needs[1])
        # The product is needed for A of down alone, but it costs nothing beside its gradient.
        dproduct = backward_of(grad, gated, None, down_xa, down, [inner, *[False] * 4], how).x if inner else None
        product, dgated, dlifted = torch.ops.sft_kernels.lora_mlp_backward(
            gated if dproduct is None else dproduct, gated, lifted, act, chosen
        )
        of_down = backward_of(grad, product, None, down_xa, down, [False, False, *needs[2]], how)
        of_gate = backward_of(dgated, x, None, gate_xa, gate, [ctx.needs_input_grad[0], False, *needs[0]], how)
        of_up = backward_of(dlifted, x, None, up_xa, up, [ctx.needs_input_grad[0], False, *needs[1]], how)
        found = [[None, *gradients[2:], *[None] * 5] for gradients in (of_gate, of_up, of_down)]
        return plus(of_gate.x, of_up.x), None, None, None, None, *found[0], *found[1], *found[2]


def _triton_reason(x: Tensor) -> str | None:
    return dispatch.triton_reason(x)


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_forward(gated, lifted, act):
    return gated.new_empty(gated.shape)


def _fake_backward(grad, gated, lifted, act):
    return tuple(gated.new_empty(gated.shape) for _ in range(3))


define(
    "lora_mlp",
    RawOp("forward", "(Tensor gated, Tensor lifted, str act) -> Tensor", _fake_forward),
    RawOp(
        "backward",
        "(Tensor grad, Tensor gated, Tensor lifted, str act) -> (Tensor product, Tensor dgated, Tensor dlifted)",
        _fake_backward,
    ),
)
dispatch.add(
    "lora_mlp",
    dispatch.Implementation("triton", _triton_reason, "sft_kernels.ops.lora_mlp.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.lora_mlp.reference"),
)
