"""Gated activations of MLPs: SwiGLU, GeGLU, and the clamped SwiGLU of GPT-OSS.

Shazeer, "GLU Variants Improve Transformer" (arXiv:2002.05202). GELU by Hendrycks and Gimpel (arXiv:1606.08415).
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.registration import RawOp, define

__all__ = ["geglu", "swiglu", "swiglu_packed"]

GELU = {"tanh": "gelu_tanh", "none": "gelu"}


def swiglu(  # noqa: PLR0913
    gate: Tensor,
    up: Tensor,
    *,
    gate_multiplier: float = 1.0,
    limit: float | None = None,
    alpha: float | None = None,
    up_offset: float = 0.0,
    backend: str | None = None,
) -> Tensor:
    """``z * sigmoid(alpha * z) * (up + up_offset)`` with ``z = gate * gate_multiplier``.

    Everything between load and store is float32 (float64 for float64 inputs), with one rounding at the end.

    Args:
        gate: ``[..., N]``, float64, float32, bfloat16 or float16.
        up: of the shape and dtype of `gate`.
        gate_multiplier: scales `gate`.
        limit: `z` is cut off above it, and `up` outside ``[-limit, limit]``; what is cut off has no gradient. None
            cuts nothing off. GPT-OSS has ``limit=7.0, alpha=1.702, up_offset=1.0``.
        alpha: slope of the sigmoid; None is 1, which is SiLU.
        up_offset: added to `up`, after the cut.
        backend: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`).

    Returns:
        ``[..., N]``, contiguous, of the dtype of `gate`.

    Differentiable once; deterministic. The inputs are saved, and the backward pass computes the activation again.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or a backend that cannot run here.
    """
    _check("swiglu", gate, up)
    settings = _settings(gate_multiplier, limit, alpha, up_offset)
    chosen = dispatch.choose("glu", backend, gate, up)
    return _Glu.apply(gate, up, "silu", False, settings, chosen)


def swiglu_packed(  # noqa: PLR0913
    gate_up: Tensor,
    *,
    interleaved: bool = False,
    gate_multiplier: float = 1.0,
    limit: float | None = None,
    alpha: float | None = None,
    up_offset: float = 0.0,
    backend: str | None = None,
) -> Tensor:
    """`swiglu` of a projection that makes both in one tensor, which is not split into copies.

    Args:
        gate_up: ``[..., 2 N]``: the gate and then up (Phi-3, Mixtral), or with `interleaved` every other element of
            each (GPT-OSS).
        interleaved: see `gate_up`.
        gate_multiplier: see `swiglu`, as are the other arguments.
        limit: see `swiglu`.
        alpha: see `swiglu`.
        up_offset: see `swiglu`.
        backend: see `swiglu`.

    Returns:
        ``[..., N]``, contiguous. The gradient of `gate_up` is one tensor too.

    Raises:
        ValueError: as `swiglu`, and an odd number of columns.
    """
    _check("swiglu_packed", gate_up, None)
    settings = _settings(gate_multiplier, limit, alpha, up_offset)
    chosen = dispatch.choose("glu", backend, gate_up, None)
    return _Glu.apply(gate_up, None, "silu", interleaved, settings, chosen)


def geglu(
    gate: Tensor, up: Tensor, approximate: Literal["tanh", "none"] = "tanh", *, backend: str | None = None
) -> Tensor:
    """``gelu(gate) * up``, as Gemma's MLP has it.

    Args:
        gate: ``[..., N]``, float64, float32, bfloat16 or float16.
        up: of the shape and dtype of `gate`.
        approximate: as in ``torch.nn.functional.gelu``, whose default is ``"none"``, the error function.
        backend: see `swiglu`.

    Returns:
        ``[..., N]``, contiguous, of the dtype of `gate`; rounded, saved and differentiated as `swiglu`.

    Raises:
        ValueError: as `swiglu`, and an approximation that does not exist.
    """
    if approximate not in GELU:
        raise ValueError(f"geglu: approximate is {approximate!r}; it has to be one of {', '.join(GELU)}")
    _check("geglu", gate, up)
    chosen = dispatch.choose("glu", backend, gate, up)
    return _Glu.apply(gate, up, GELU[approximate], False, _settings(1.0, None, None, 0.0), chosen)


class _Glu(torch.autograd.Function):
    """All of them; without `up`, `gate` holds both."""

    @staticmethod
    def forward(ctx: Any, gate, up, activation, interleaved, settings, backend):  # noqa: PLR0913
        ctx.save_for_backward(gate, up)
        ctx.how = activation, interleaved, settings, backend
        return torch.ops.sft_kernels.glu_forward(gate, up, activation, interleaved, settings, backend)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        gate, up = ctx.saved_tensors
        dgate, dup = torch.ops.sft_kernels.glu_backward(grad, gate, up, *ctx.how)
        return dgate, None if up is None else dup, None, None, None, None


def halves(packed: Tensor, interleaved: bool) -> tuple[Tensor, Tensor]:
    """Gate and up as views of a tensor that holds both, ``[..., 2 N]``."""
    if interleaved:
        return packed[..., ::2], packed[..., 1::2]
    middle = packed.shape[-1] // 2
    return packed[..., :middle], packed[..., middle:]


def _settings(multiplier: float, limit: float | None, alpha: float | None, up_offset: float) -> list[float]:
    if limit is not None and not limit > 0:
        raise ValueError(f"swiglu: limit is {limit}; it has to be above 0, or None")
    return [multiplier, math.inf if limit is None else limit, 1.0 if alpha is None else alpha, up_offset]


def _check(name: str, gate: Tensor, up: Tensor | None) -> None:
    if gate.ndim == 0 or gate.shape[-1] == 0 or not gate.is_floating_point():
        raise ValueError(f"{name}: {gate.dtype} {list(gate.shape)}; it has to be floating-point [..., N], N at least 1")
    if up is None:
        if gate.shape[-1] % 2:
            raise ValueError(f"{name}: gate_up is {list(gate.shape)}; its last dimension has to be even")
    elif (up.shape, up.dtype, up.device) != (gate.shape, gate.dtype, gate.device):
        theirs = f"gate is {gate.dtype} {list(gate.shape)} on {gate.device}"
        raise ValueError(f"{name}: up is {up.dtype} {list(up.shape)} on {up.device}, and {theirs}; make them the same")


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_forward(gate, up, activation, interleaved, settings):
    return gate.new_empty(gate.shape if up is not None else (*gate.shape[:-1], gate.shape[-1] // 2))


def _fake_backward(grad, gate, up, activation, interleaved, settings):
    return gate.new_empty(gate.shape), gate.new_empty(0 if up is None else up.shape)


define(
    "glu",
    RawOp(
        "forward",
        "(Tensor gate, Tensor? up, str activation, bool interleaved, float[] settings) -> Tensor",
        _fake_forward,
    ),
    RawOp(
        "backward",
        "(Tensor grad, Tensor gate, Tensor? up, str activation, bool interleaved, float[] settings)"
        " -> (Tensor dgate, Tensor dup)",
        _fake_backward,
    ),
)
dispatch.add(
    "glu",
    dispatch.Implementation("triton", dispatch.triton_reason, "sft_kernels.ops.glu.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.glu.reference"),
)
