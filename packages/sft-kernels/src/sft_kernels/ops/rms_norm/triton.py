# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""RMSNorm in triton. The rules that make one source right on GPUs and in the interpreter: docs/kernels.md.

A program holds whole rows, several where they are short. The backward pass has a grid of fixed size whose programs
walk over the rows and keep the weight's gradient in registers: one float32 row per program, summed afterwards in a
fixed order, so the result is the same bits every time, whatever the number of multiprocessors. Two tensors are read
and one is written per element, which is the floor.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator, as_rows
from sft_kernels.ops.rms_norm import output_dtype, sum_dtype

__all__ = ["backward", "forward", "specialisations"]

# Of the backward pass, on every GPU: three for each of an H100's 132 multiprocessors, which is what the kernel's
# registers let run at once (rows of 4096: 80 registers times 256 threads), so that no second wave is half empty.
PROGRAMS = 396
ELEMENTS = 4096  # that a program holds at once, unless one row has more
# Of a program. The backward pass holds three values where the forward pass holds one: half the threads, with twice
# the registers each, spill less.
FORWARD_WARPS, BACKWARD_WARPS = 32, 16


class Tile(NamedTuple):
    """What a program works on at once."""

    rows: int
    columns: int
    warps: int


def tile(columns: int, most_warps: int) -> Tile:
    """The tile for rows of a width: 16 elements a thread, more where rows are longer than 512 times `most_warps`."""
    width = max(16, triton.next_power_of_2(columns))
    rows = min(32, max(1, ELEMENTS // width))
    return Tile(rows, width, max(4, min(most_warps, rows * width // 512)))


@triton.jit
def _load(ptr, rows, columns, stride, mask, ACC: tl.constexpr):
    return tl.load(ptr + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0).to(ACC)


@triton.jit
def _store(ptr, value, rows, columns, stride, mask):
    tl.store(ptr + rows[:, None] * stride + columns[None, :], value.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def _scale(weight_ptr, offset, columns, inside, CASTING: tl.constexpr, ACC: tl.constexpr):
    """Offset plus weight; with "none" the sum is rounded to the weight's dtype."""
    scale = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(ACC) + tl.cast(offset, ACC)
    if CASTING == "none":
        scale = scale.to(weight_ptr.dtype.element_ty).to(ACC)
    return scale[None, :]


@triton.jit
def _rstd(x, eps, n_columns, CASTING: tl.constexpr, DTYPE: tl.constexpr, ACC: tl.constexpr):
    """Reciprocal roots of rows; with "none" every step is rounded to DTYPE."""
    if CASTING == "none":
        square = (x * x).to(DTYPE).to(ACC)
        mean = (tl.sum(square, 1) / n_columns).to(DTYPE).to(ACC)
        shifted = (mean + tl.cast(eps, ACC)).to(DTYPE).to(ACC)
        return (1.0 / tl.sqrt(shifted)).to(DTYPE).to(ACC)
    return 1.0 / tl.sqrt(tl.sum(x * x, 1) / n_columns + tl.cast(eps, ACC))


@triton.jit(do_not_specialize=["n_rows"])
def _forward(
    x_ptr,
    residual_ptr,
    weight_ptr,
    y_ptr,
    total_ptr,
    rstd_ptr,
    n_rows,
    n_columns,
    x_stride,
    residual_stride,
    eps,
    offset,
    CASTING: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.arange(0, COLUMNS)
    inside = columns < n_columns
    mask = (rows < n_rows)[:, None] & inside[None, :]
    x = _load(x_ptr, rows, columns, x_stride, mask, ACC)
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty if residual_ptr is None else total_ptr.dtype.element_ty
    if residual_ptr is not None:
        x += _load(residual_ptr, rows, columns, residual_stride, mask, ACC)
        x = x.to(DTYPE).to(ACC)
        _store(total_ptr, x, rows, columns, n_columns, mask)
    rstd = _rstd(x, eps, n_columns, CASTING, DTYPE, ACC)
    y = x * rstd[:, None]
    if CASTING != "gemma":
        y = y.to(DTYPE).to(ACC)
    if weight_ptr is not None:
        y *= _scale(weight_ptr, offset, columns, inside, CASTING, ACC)
    _store(y_ptr, y, rows, columns, n_columns, mask)
    tl.store(rstd_ptr + rows, rstd, mask=rows < n_rows)


@triton.jit(do_not_specialize=["n_rows"])
def _backward(
    grad_ptr,
    grad_total_ptr,
    total_ptr,
    weight_ptr,
    rstd_ptr,
    dtotal_ptr,
    partial_ptr,
    n_rows,
    n_columns,
    grad_stride,
    grad_total_stride,
    total_stride,
    offset,
    CASTING: tl.constexpr,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    columns = tl.arange(0, COLUMNS)
    inside = columns < n_columns
    if (weight_ptr is not None) and (COLUMNS <= 8192):
        scale = _scale(weight_ptr, offset, columns, inside, CASTING, ACC)
    partial = tl.zeros((ROWS, COLUMNS), ACC)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        rows = (start + tl.arange(0, ROWS)).to(tl.int64)
        mask = (rows < n_rows)[:, None] & inside[None, :]
        grad = _load(grad_ptr, rows, columns, grad_stride, mask, ACC)
        rstd = tl.load(rstd_ptr + rows, mask=rows < n_rows, other=0.0)[:, None]
        normalised = _load(total_ptr, rows, columns, total_stride, mask, ACC) * rstd
        if partial_ptr is not None:
            if CASTING == "gemma":
                partial += grad * normalised
            else:
                partial += grad * normalised.to(total_ptr.dtype.element_ty).to(ACC)
        if weight_ptr is not None:
            if COLUMNS > 8192:  # registers are short: from the cache, every time
                scale = _scale(weight_ptr, offset, columns, inside, CASTING, ACC)
            grad *= scale
        mean = tl.sum(grad * normalised, 1) / n_columns
        dtotal = rstd * (grad - normalised * mean[:, None])
        if grad_total_ptr is not None:
            dtotal += _load(grad_total_ptr, rows, columns, grad_total_stride, mask, ACC)
        _store(dtotal_ptr, dtotal, rows, columns, n_columns, mask)
    if partial_ptr is not None:
        row = tl.program_id(0).to(tl.int64) * n_columns
        tl.store(partial_ptr + row + columns, tl.sum(partial, 0), mask=inside)


def forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, eps: float, offset: float, casting: str
) -> tuple[Tensor, Tensor, Tensor]:
    """As the reference's forward."""
    dtype = sum_dtype(x, residual)
    y = x.new_empty(x.shape, dtype=output_dtype(dtype, weight, casting))
    total = x.new_empty(0 if residual is None else x.shape, dtype=dtype)
    rstd = x.new_empty(x.shape[:-1], dtype=accumulator(dtype))
    x, residual = as_rows(x), None if residual is None else as_rows(residual)
    shape = tile(x.shape[1], FORWARD_WARPS)
    with torch.cuda.device_of(x):
        _forward[(max(1, triton.cdiv(x.shape[0], shape.rows)),)](
            x,
            residual,
            None if weight is None else weight.contiguous(),
            y,
            total,
            rstd,
            *x.shape,
            x.stride(0),
            0 if residual is None else residual.stride(0),
            eps,
            offset,
            **_constants(casting, rstd.dtype, shape),
        )
    return y, total, rstd


def backward(
    grad: Tensor,
    grad_total: Tensor | None,
    total: Tensor,
    weight: Tensor | None,
    rstd: Tensor,
    offset: float,
    casting: str,
    weight_grad: bool,
) -> tuple[Tensor, Tensor]:
    """As the reference's backward."""
    dtotal = total.new_empty(total.shape)
    grad, total, grad_total = as_rows(grad), as_rows(total), None if grad_total is None else as_rows(grad_total)
    shape = tile(total.shape[1], BACKWARD_WARPS)
    programs = max(1, min(PROGRAMS, triton.cdiv(total.shape[0], shape.rows)))
    partial = rstd.new_empty(programs, total.shape[1]) if weight_grad else None
    with torch.cuda.device_of(total):
        _backward[(programs,)](
            grad,
            grad_total,
            total,
            None if weight is None else weight.contiguous(),
            rstd,
            dtotal,
            partial,
            *total.shape,
            grad.stride(0),
            0 if grad_total is None else grad_total.stride(0),
            total.stride(0),
            offset,
            **_constants(casting, rstd.dtype, shape),
        )
    if weight is None or partial is None:
        return dtotal, total.new_empty(0)
    return dtotal, partial.sum(0).to(weight.dtype)


def _constants(casting: str, acc: torch.dtype, shape: Tile) -> dict[str, object]:
    return {
        "CASTING": casting,
        "ACC": tl.float64 if acc == torch.float64 else tl.float32,
        "ROWS": shape.rows,
        "COLUMNS": shape.columns,
        "num_warps": shape.warps,
        "enable_fp_fusion": True,  # triton 3.10 turns it off by default, which would change results
    }


def specialisations() -> list[Specialisation]:
    """Llama's norm in bfloat16 with the residual, in the widths of small heads, of 7B models and of the largest."""
    pointers = ("x", "residual", "weight", "y", "total", "grad", "grad_total", "dtotal")
    types = {f"{name}_ptr": "*bf16" for name in pointers}
    types |= {"rstd_ptr": "*fp32", "partial_ptr": "*fp32", "eps": "fp32", "offset": "fp32"}
    found: list[Specialisation] = []
    for columns in (128, 4096, 16384):
        for kernel, most_warps in ((_forward, FORWARD_WARPS), (_backward, BACKWARD_WARPS)):
            shape = tile(columns, most_warps)
            constants = {"CASTING": "llama", "ACC": tl.float32, "ROWS": shape.rows, "COLUMNS": shape.columns}
            name = f"rms_norm{kernel.fn.__name__}_{columns}"
            found.append(Specialisation(name, kernel, types, constants, shape.warps))
    return found
