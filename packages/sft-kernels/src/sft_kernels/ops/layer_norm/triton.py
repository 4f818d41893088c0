# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""LayerNorm in triton, built as RMSNorm is: tiles of whole rows, and a backward pass with a fixed number of programs.

Gradients of weight and bias are summed in registers, one float32 row of each per program, and then over programs in a
fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator, as_rows
from sft_kernels.ops.rms_norm.triton import BACKWARD_WARPS, FORWARD_WARPS, PROGRAMS, Tile, tile

__all__ = ["backward", "forward", "specialisations"]


@triton.jit
def _load(ptr, rows, columns, stride, mask, ACC: tl.constexpr):
    return tl.load(ptr + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0).to(ACC)


@triton.jit(do_not_specialize=["n_rows"])
def _forward(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    mean_ptr,
    rstd_ptr,
    n_rows,
    n_columns,
    x_stride,
    eps,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.arange(0, COLUMNS)
    inside = columns < n_columns
    mask = (rows < n_rows)[:, None] & inside[None, :]
    x = _load(x_ptr, rows, columns, x_stride, mask, ACC)
    mean = tl.sum(x, 1) / n_columns
    centred = tl.where(mask, x - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / n_columns + tl.cast(eps, ACC))
    y = centred * rstd[:, None]
    if weight_ptr is not None:
        y *= tl.load(weight_ptr + columns, mask=inside, other=0.0).to(ACC)[None, :]
    if bias_ptr is not None:
        y += tl.load(bias_ptr + columns, mask=inside, other=0.0).to(ACC)[None, :]
    tl.store(y_ptr + rows[:, None] * n_columns + columns[None, :], y.to(y_ptr.dtype.element_ty), mask=mask)
    tl.store(mean_ptr + rows, mean, mask=rows < n_rows)
    tl.store(rstd_ptr + rows, rstd, mask=rows < n_rows)


@triton.jit(do_not_specialize=["n_rows"])
def _backward(
    grad_ptr,
    x_ptr,
    weight_ptr,
    mean_ptr,
    rstd_ptr,
    dx_ptr,
    partial_ptr,
    n_rows,
    n_columns,
    grad_stride,
    x_stride,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    columns = tl.arange(0, COLUMNS)
    inside = columns < n_columns
    dweight = tl.zeros((ROWS, COLUMNS), ACC)
    dbias = tl.zeros((ROWS, COLUMNS), ACC)
    for start in range(tl.program_id(0) * ROWS, n_rows, tl.num_programs(0) * ROWS):
        rows = (start + tl.arange(0, ROWS)).to(tl.int64)
        mask = (rows < n_rows)[:, None] & inside[None, :]
        grad = _load(grad_ptr, rows, columns, grad_stride, mask, ACC)
        mean = tl.load(mean_ptr + rows, mask=rows < n_rows, other=0.0)[:, None]
        rstd = tl.load(rstd_ptr + rows, mask=rows < n_rows, other=0.0)[:, None]
        normalised = tl.where(mask, (_load(x_ptr, rows, columns, x_stride, mask, ACC) - mean) * rstd, 0.0)
        if partial_ptr is not None:
            dweight += grad * normalised
            dbias += grad
        if weight_ptr is not None:  # from the cache, every time: registers are short
            grad *= tl.load(weight_ptr + columns, mask=inside, other=0.0).to(ACC)[None, :]
        along = tl.sum(grad * normalised, 1) / n_columns
        level = tl.sum(grad, 1) / n_columns
        dx = rstd * (grad - level[:, None] - normalised * along[:, None])
        tl.store(dx_ptr + rows[:, None] * n_columns + columns[None, :], dx.to(dx_ptr.dtype.element_ty), mask=mask)
    if partial_ptr is not None:
        row = tl.program_id(0).to(tl.int64) * 2 * n_columns
        tl.store(partial_ptr + row + columns, tl.sum(dweight, 0), mask=inside)
        tl.store(partial_ptr + row + n_columns + columns, tl.sum(dbias, 0), mask=inside)


def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """As the reference's forward."""
    acc = accumulator(x.dtype)
    y = x.new_empty(x.shape)
    mean, rstd = x.new_empty(x.shape[:-1], dtype=acc), x.new_empty(x.shape[:-1], dtype=acc)
    x = as_rows(x)
    shape = tile(x.shape[1], FORWARD_WARPS)
    with torch.cuda.device_of(x):
        _forward[(max(1, triton.cdiv(x.shape[0], shape.rows)),)](
            x,
            None if weight is None else weight.contiguous(),
            None if bias is None else bias.contiguous(),
            y,
            mean,
            rstd,
            *x.shape,
            x.stride(0),
            eps,
            **_constants(acc, shape),
        )
    return y, mean, rstd


def backward(
    grad: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, rstd: Tensor, sums: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As the reference's backward."""
    dx = x.new_empty(x.shape)
    grad, x = as_rows(grad), as_rows(x)
    shape = tile(x.shape[1], BACKWARD_WARPS)
    programs = max(1, min(PROGRAMS, triton.cdiv(x.shape[0], shape.rows)))
    partial = rstd.new_empty(programs, 2, x.shape[1]) if sums else None
    with torch.cuda.device_of(x):
        _backward[(programs,)](
            grad,
            x,
            None if weight is None else weight.contiguous(),
            mean,
            rstd,
            dx,
            partial,
            *x.shape,
            grad.stride(0),
            x.stride(0),
            **_constants(rstd.dtype, shape),
        )
    if partial is None:
        return dx, rstd.new_empty(0), rstd.new_empty(0)
    return dx, partial[:, 0].sum(0), partial[:, 1].sum(0)


def _constants(acc: torch.dtype, shape: Tile) -> dict[str, object]:
    return {
        "ACC": tl.float64 if acc == torch.float64 else tl.float32,
        "ROWS": shape.rows,
        "COLUMNS": shape.columns,
        "num_warps": shape.warps,
        "enable_fp_fusion": True,  # triton 3.10 turns it off by default, which would change results
    }


def specialisations() -> list[Specialisation]:
    """In bfloat16, in the widths of vision towers and of the largest models."""
    types = {f"{name}_ptr": "*bf16" for name in ("x", "weight", "bias", "y", "grad", "dx")}
    types |= {f"{name}_ptr": "*fp32" for name in ("mean", "rstd", "partial")} | {"eps": "fp32"}
    found: list[Specialisation] = []
    for columns in (1024, 8192):
        for kernel, most_warps in ((_forward, FORWARD_WARPS), (_backward, BACKWARD_WARPS)):
            shape = tile(columns, most_warps)
            constants = {"ACC": tl.float32, "ROWS": shape.rows, "COLUMNS": shape.columns}
            name = f"layer_norm{kernel.fn.__name__}_{columns}"
            found.append(Specialisation(name, kernel, types, constants, shape.warps))
    return found
