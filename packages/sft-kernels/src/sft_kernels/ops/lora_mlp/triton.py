# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""The gated activation in triton: one pass over memory each way. The rules of kernels: docs/kernels.md."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator

__all__ = ["backward", "forward", "specialisations"]

ELEMENTS = 2048  # of a program
WARPS = 8


@triton.jit
def _activated(x, ACT: tl.constexpr, ACC: tl.constexpr):
    """The activation and its slope."""
    if ACT == "silu":
        sigmoid = 1.0 / (1.0 + tl.exp(-x))
        return x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid))
    root = tl.cast(0.7978845608028654, ACC)  # of 2 / pi
    cubic = tl.cast(0.044715, ACC)
    cdf = 1.0 / (1.0 + tl.exp(-2.0 * root * (x + cubic * x * x * x)))  # (1 + tanh(...)) / 2
    return x * cdf, cdf + x * cdf * (1.0 - cdf) * 2.0 * root * (1.0 + 3.0 * cubic * x * x)


@triton.jit
def _forward(gated_ptr, lifted_ptr, out_ptr, n_elements, ACT: tl.constexpr, ACC: tl.constexpr, ELEMENTS: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    mask = place < n_elements
    gated = tl.load(gated_ptr + place, mask=mask, other=0.0).to(ACC)
    lifted = tl.load(lifted_ptr + place, mask=mask, other=0.0).to(ACC)
    activated, _ = _activated(gated, ACT, ACC)
    tl.store(out_ptr + place, (activated * lifted).to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _backward(
    grad_ptr,
    gated_ptr,
    lifted_ptr,
    product_ptr,
    dgated_ptr,
    dlifted_ptr,
    n_elements,
    ACT: tl.constexpr,
    ACC: tl.constexpr,
    ELEMENTS: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    mask = place < n_elements
    grad = tl.load(grad_ptr + place, mask=mask, other=0.0).to(ACC)
    gated = tl.load(gated_ptr + place, mask=mask, other=0.0).to(ACC)
    lifted = tl.load(lifted_ptr + place, mask=mask, other=0.0).to(ACC)
    activated, slope = _activated(gated, ACT, ACC)
    dtype = product_ptr.dtype.element_ty
    tl.store(product_ptr + place, (activated * lifted).to(dtype), mask=mask)
    tl.store(dgated_ptr + place, (grad * lifted * slope).to(dtype), mask=mask)
    tl.store(dlifted_ptr + place, (grad * activated).to(dtype), mask=mask)


def forward(gated: Tensor, lifted: Tensor, act: str) -> Tensor:
    """As the reference's forward."""
    gated, lifted = gated.contiguous(), lifted.contiguous()
    out = torch.empty_like(gated)
    with torch.cuda.device_of(gated):
        _forward[_grid(gated)](gated, lifted, out, gated.numel(), **_constants(gated, act))
    return out


def backward(grad: Tensor, gated: Tensor, lifted: Tensor, act: str) -> tuple[Tensor, Tensor, Tensor]:
    """As the reference's backward."""
    grad, gated, lifted = grad.contiguous(), gated.contiguous(), lifted.contiguous()
    product, dgated, dlifted = torch.empty_like(gated), torch.empty_like(gated), torch.empty_like(gated)
    with torch.cuda.device_of(gated):
        _backward[_grid(gated)](grad, gated, lifted, product, dgated, dlifted, gated.numel(), **_constants(gated, act))
    return product, dgated, dlifted


def _grid(tensor: Tensor) -> tuple[int]:
    return (max(1, triton.cdiv(tensor.numel(), ELEMENTS)),)


def _constants(tensor: Tensor, act: str) -> dict[str, object]:
    wide = accumulator(tensor.dtype) == torch.float64
    return {
        "ACT": act,
        "ACC": tl.float64 if wide else tl.float32,
        "ELEMENTS": ELEMENTS,
        "num_warps": WARPS,
        "enable_fp_fusion": True,
    }


def specialisations() -> list[Specialisation]:
    """Both activations in bfloat16."""
    names = ("gated", "lifted", "out", "grad", "product", "dgated", "dlifted")
    types = {f"{name}_ptr": "*bf16" for name in names}
    return [
        Specialisation(
            f"lora_mlp{kernel.fn.__name__}_{act}",
            kernel,
            types,
            {"ACT": act, "ACC": tl.float32, "ELEMENTS": ELEMENTS},
            WARPS,
        )
        for act in ("silu", "gelu_tanh")
        for kernel in (_forward, _backward)
    ]
