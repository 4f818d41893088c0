# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""Gated activations in triton. The rules that make one source right on GPUs and in the interpreter: docs/kernels.md.

A program holds a tile of rows and columns. Gate and up may be views of one tensor: rows have a stride, and elements
of a row are STEP apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator, as_rows
from sft_kernels.ops.glu import halves

__all__ = ["backward", "forward", "specialisations"]

ELEMENTS = 2048  # of a program: 16 a thread
WIDEST = 1024  # columns of a program
WARPS = 4


class Tile(NamedTuple):
    rows: int
    columns: int


def tile(columns: int) -> Tile:
    """The tile for rows of a width."""
    width = max(16, min(WIDEST, triton.next_power_of_2(columns)))
    return Tile(min(64, ELEMENTS // width), width)


@triton.jit
def _activation(z, alpha, ACTIVATION: tl.constexpr):
    """Value and derivative; ``(1 + tanh(x)) / 2`` is ``sigmoid(2 x)``."""
    if ACTIVATION == "silu":
        p = tl.sigmoid(alpha * z)
        slope = p * (1.0 + alpha * z * (1.0 - p))
    elif ACTIVATION == "gelu_tanh":
        p = tl.sigmoid(1.5957691216057308 * (z + 0.044715 * z * z * z))
        slope = p + z * p * (1.0 - p) * 1.5957691216057308 * (1.0 + 0.134145 * z * z)
    else:
        p = 0.5 * (1.0 + tl.math.erf(z * 0.7071067811865476))
        slope = p + z * tl.exp(-0.5 * z * z) * 0.3989422804014327
    return z * p, slope


@triton.jit
def _cut(gate, up, multiplier, limit):
    """Scaled and cut, and whether anything was cut off; NaN is not."""
    z = gate * multiplier
    z_over = z > limit
    over = up > limit
    under = up < -limit
    u = tl.where(over, limit, tl.where(under, -limit, up))
    return tl.where(z_over, limit, z), u, z_over, over | under


@triton.jit
def _place(n_rows, n_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    return rows[:, None], columns[None, :], (rows < n_rows)[:, None] & (columns < n_columns)[None, :]


@triton.jit(do_not_specialize=["n_rows"])
def _forward(
    gate_ptr,
    up_ptr,
    y_ptr,
    n_rows,
    n_columns,
    gate_stride,
    up_stride,
    multiplier,
    limit,
    alpha,
    up_offset,
    ACTIVATION: tl.constexpr,
    STEP: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows, columns, mask = _place(n_rows, n_columns, ROWS, COLUMNS)
    gate = tl.load(gate_ptr + rows * gate_stride + columns * STEP, mask=mask, other=0.0).to(ACC)
    up = tl.load(up_ptr + rows * up_stride + columns * STEP, mask=mask, other=0.0).to(ACC)
    z, u, _, _ = _cut(gate, up, tl.cast(multiplier, ACC), tl.cast(limit, ACC))
    value, _ = _activation(z, tl.cast(alpha, ACC), ACTIVATION)
    y = value * (u + tl.cast(up_offset, ACC))
    tl.store(y_ptr + rows * n_columns + columns, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["n_rows"])
def _backward(
    grad_ptr,
    gate_ptr,
    up_ptr,
    dgate_ptr,
    dup_ptr,
    n_rows,
    n_columns,
    grad_stride,
    gate_stride,
    up_stride,
    out_stride,
    multiplier,
    limit,
    alpha,
    up_offset,
    ACTIVATION: tl.constexpr,
    STEP: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows, columns, mask = _place(n_rows, n_columns, ROWS, COLUMNS)
    grad = tl.load(grad_ptr + rows * grad_stride + columns, mask=mask, other=0.0).to(ACC)
    gate = tl.load(gate_ptr + rows * gate_stride + columns * STEP, mask=mask, other=0.0).to(ACC)
    up = tl.load(up_ptr + rows * up_stride + columns * STEP, mask=mask, other=0.0).to(ACC)
    z, u, z_cut, u_cut = _cut(gate, up, tl.cast(multiplier, ACC), tl.cast(limit, ACC))
    value, slope = _activation(z, tl.cast(alpha, ACC), ACTIVATION)
    dgate = tl.where(z_cut, 0.0, grad * (u + tl.cast(up_offset, ACC)) * slope * tl.cast(multiplier, ACC))
    dup = tl.where(u_cut, 0.0, grad * value)
    place = rows * out_stride + columns * STEP
    tl.store(dgate_ptr + place, dgate.to(dgate_ptr.dtype.element_ty), mask=mask)
    tl.store(dup_ptr + place, dup.to(dup_ptr.dtype.element_ty), mask=mask)


def forward(gate: Tensor, up: Tensor | None, activation: str, interleaved: bool, settings: Sequence[float]) -> Tensor:
    """As the reference's forward."""
    y = gate.new_empty(gate.shape if up is not None else (*gate.shape[:-1], gate.shape[-1] // 2))
    left, right = _rows(gate, up, interleaved)
    shape = tile(left.shape[1])
    with torch.cuda.device_of(gate):
        _forward[_grid(left, shape)](
            left,
            right,
            y,
            *left.shape,
            left.stride(0),
            right.stride(0),
            *settings,
            **_constants(activation, left, shape),
        )
    return y


def backward(
    grad: Tensor, gate: Tensor, up: Tensor | None, activation: str, interleaved: bool, settings: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """As the reference's backward."""
    dgate, dup = gate.new_empty(gate.shape), gate.new_empty(0 if up is None else up.shape)
    left, right = _rows(gate, up, interleaved)
    to_left, to_right = _rows(dgate, None if up is None else dup, interleaved)
    grad, shape = as_rows(grad), tile(left.shape[1])
    with torch.cuda.device_of(gate):
        _backward[_grid(left, shape)](
            grad,
            left,
            right,
            to_left,
            to_right,
            *left.shape,
            grad.stride(0),
            left.stride(0),
            right.stride(0),
            to_left.stride(0),
            *settings,
            **_constants(activation, left, shape),
        )
    return dgate, dup


def _rows(gate: Tensor, up: Tensor | None, interleaved: bool) -> tuple[Tensor, Tensor]:
    return halves(as_rows(gate), interleaved) if up is None else (as_rows(gate), as_rows(up))


def _grid(left: Tensor, shape: Tile) -> tuple[int, int]:
    return max(1, triton.cdiv(left.shape[0], shape.rows)), triton.cdiv(left.shape[1], shape.columns)


def _constants(activation: str, left: Tensor, shape: Tile) -> dict[str, object]:
    return {
        "ACTIVATION": activation,
        "STEP": 1 if left.shape[1] == 1 else left.stride(1),
        "ACC": tl.float64 if accumulator(left.dtype) == torch.float64 else tl.float32,
        "ROWS": shape.rows,
        "COLUMNS": shape.columns,
        "num_warps": WARPS,
        "enable_fp_fusion": True,  # triton 3.10 turns it off by default, which would change results
    }


def specialisations() -> list[Specialisation]:
    """Each activation in bfloat16 for rows of 7B models, and GPT-OSS's interleaved one."""
    types = {f"{name}_ptr": "*bf16" for name in ("gate", "up", "y", "grad", "dgate", "dup")}
    types |= dict.fromkeys(("multiplier", "limit", "alpha", "up_offset"), "fp32")
    shape = tile(14336)
    found: list[Specialisation] = []
    for activation, step in (("silu", 1), ("silu", 2), ("gelu_tanh", 1), ("gelu", 1)):
        constants = {"ACTIVATION": activation, "STEP": step, "ACC": tl.float32}
        constants |= {"ROWS": shape.rows, "COLUMNS": shape.columns}
        for kernel in (_forward, _backward):
            name = f"glu{kernel.fn.__name__}_{activation}_step{step}"
            found.append(Specialisation(name, kernel, types, constants, WARPS))
    return found
