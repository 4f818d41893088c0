# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""Grouped products in triton. The rules of kernels: docs/kernels.md.

Rows: a table of tiles, made on the device, gives each program an expert and the first of its rows. The grid is as
large as any `offsets` can need, so nothing waits for the device, and programs without a tile return at once. Forward
and backward pass differ in which side of the weight is summed over, which is a matter of strides.

Weights: a program owns a tile of one expert's gradient and walks over that expert's tokens, in order: no atomics, and
zeros for an expert without tokens.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator, as_rows

__all__ = ["rows", "specialisations", "tiles", "weights"]


def tile(out: int, inner: int, interpreted: bool = False) -> dict[str, int]:
    """Rows, columns and summed elements of a tile, for products of `out` columns that sum over `inner` elements."""
    return {
        "ROWS": 32 if interpreted else 128,
        "COLUMNS": max(16, min(128, triton.next_power_of_2(out))),
        "INNER": max(16, min(64, triton.next_power_of_2(inner))),
    }


def weight_tile(n: int, k: int) -> dict[str, int]:
    """Rows and columns of a tile of the weight's gradient, and tokens at a time."""
    return {
        "ROWS": max(16, min(128, triton.next_power_of_2(n))),
        "COLUMNS": max(16, min(128, triton.next_power_of_2(k))),
        "INNER": 64,
    }


WARPS, STAGES = 8, 3


@triton.jit
def _dot(a, b, total, ACC: tl.constexpr):
    """Adds a product; ieee, or float32 operands would be cut to ten bits."""
    return tl.dot(a, b, total, input_precision="ieee", out_dtype=ACC)


@triton.jit
def _rows(
    x_ptr,
    weight_ptr,
    out_ptr,
    table_ptr,
    offsets_ptr,
    n_columns,
    n_inner,
    x_stride,
    expert_stride,
    column_stride,
    inner_stride,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    expert = tl.load(table_ptr + 2 * tl.program_id(0))
    if expert < 0:
        return
    row = tl.load(table_ptr + 2 * tl.program_id(0) + 1) + tl.arange(0, ROWS)
    row_mask = row < tl.load(offsets_ptr + expert + 1)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    column_mask = column < n_columns
    inner = tl.arange(0, INNER)
    x_ptr += row[:, None].to(tl.int64) * x_stride
    weight_ptr += expert.to(tl.int64) * expert_stride + column[None, :].to(tl.int64) * column_stride
    total = tl.zeros((ROWS, COLUMNS), ACC)
    for start in range(0, n_inner, INNER):
        place = start + inner
        mask = place < n_inner
        x = tl.load(x_ptr + place[None, :], mask=row_mask[:, None] & mask[None, :], other=0.0)
        weight_place = place[:, None].to(tl.int64) * inner_stride
        weight = tl.load(weight_ptr + weight_place, mask=mask[:, None] & column_mask[None, :], other=0.0)
        total = _dot(x, weight, total, ACC)
    out_ptr += row[:, None].to(tl.int64) * n_columns + column[None, :]
    tl.store(out_ptr, total.to(out_ptr.dtype.element_ty), mask=row_mask[:, None] & column_mask[None, :])


@triton.jit
def _weights(
    grad_ptr,
    x_ptr,
    out_ptr,
    offsets_ptr,
    n_out,
    n_columns,
    grad_stride,
    x_stride,
    ACC: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    expert = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    end = tl.load(offsets_ptr + expert + 1)
    total = tl.zeros((ROWS, COLUMNS), ACC)
    for start in range(tl.load(offsets_ptr + expert), end, INNER):
        token = start + tl.arange(0, INNER)
        place = token.to(tl.int64)
        grad_mask = (row < n_out)[:, None] & (token < end)[None, :]
        grad = tl.load(grad_ptr + place[None, :] * grad_stride + row[:, None], mask=grad_mask, other=0.0)
        x_mask = (token < end)[:, None] & (column < n_columns)[None, :]
        x = tl.load(x_ptr + place[:, None] * x_stride + column[None, :], mask=x_mask, other=0.0)
        total = _dot(grad, x, total, ACC)
    out_ptr += (expert * n_out + row[:, None]) * n_columns + column[None, :]
    mask = (row < n_out)[:, None] & (column < n_columns)[None, :]
    tl.store(out_ptr, total.to(out_ptr.dtype.element_ty), mask=mask)


def tiles(offsets: Tensor, tokens: int, size: int) -> Tensor:
    """``[n, 2]``, int32: of each tile of up to `size` rows the expert and the first row; (-1, 0) where there is none.

    n is what any offsets could need, so that it takes no look at them.
    """
    experts = offsets.shape[0] - 1
    starts = offsets[:-1].long()
    ends = ((offsets[1:].long() - starts + size - 1) // size).cumsum(0)
    number = torch.arange(tokens // size + experts, device=offsets.device)
    expert = torch.searchsorted(ends, number, right=True)
    there = expert < experts
    expert = expert.clamp(max=experts - 1)
    first = torch.where(expert > 0, ends[expert - 1], 0)
    row = starts[expert] + (number - first) * size
    return torch.stack((torch.where(there, expert, -1), torch.where(there, row, 0)), 1).int()


def rows(x: Tensor, weight: Tensor, offsets: Tensor, transposed: bool) -> Tensor:
    """As the reference's rows."""
    x, weight = as_rows(x), weight.contiguous()
    columns, inner = (1, 2) if transposed else (2, 1)
    out = x.new_empty(x.shape[0], weight.shape[columns])
    shape = tile(out.shape[1], x.shape[1], x.device.type == "cpu")
    table = tiles(offsets, x.shape[0], shape["ROWS"])
    with torch.cuda.device_of(x):
        _rows[(table.shape[0], triton.cdiv(out.shape[1], shape["COLUMNS"]))](
            x,
            weight,
            out,
            table,
            offsets,
            out.shape[1],
            x.shape[1],
            x.stride(0),
            weight.stride(0),
            weight.stride(columns),
            weight.stride(inner),
            **_constants(x, shape),
        )
    return out


def weights(grad: Tensor, x: Tensor, offsets: Tensor) -> Tensor:
    """As the reference's weights."""
    grad, x = as_rows(grad), as_rows(x)
    out = x.new_empty(offsets.shape[0] - 1, grad.shape[1], x.shape[1])
    shape = weight_tile(*out.shape[1:])
    grid = (triton.cdiv(out.shape[1], shape["ROWS"]), triton.cdiv(out.shape[2], shape["COLUMNS"]), out.shape[0])
    with torch.cuda.device_of(x):
        _weights[grid](grad, x, out, offsets, *out.shape[1:], grad.stride(0), x.stride(0), **_constants(x, shape))
    return out


def _constants(x: Tensor, shape: dict[str, int]) -> dict[str, Any]:
    wide = accumulator(x.dtype) == torch.float64
    return shape | {
        "ACC": tl.float64 if wide else tl.float32,
        "num_warps": WARPS,
        "num_stages": STAGES if x.element_size() == 2 else 1,  # wider operands do not fit shared memory thrice
        "enable_fp_fusion": True,
    }


def specialisations() -> list[Specialisation]:
    """Both directions and the weight's gradient in bfloat16, at the widths of experts and of an adapter's rank."""
    types = {f"{name}_ptr": "*bf16" for name in ("x", "weight", "out", "grad")}
    types |= {"table_ptr": "*i32", "offsets_ptr": "*i32"}
    return [
        Specialisation(f"grouped_{name}", kernel, types, shape | {"ACC": tl.float32} | strides, WARPS, STAGES)
        for name, kernel, shape, strides in (
            ("forward", _rows, tile(2048, 2048), {"inner_stride": 1}),
            ("forward_rank_16", _rows, tile(16, 2048), {"inner_stride": 1}),
            ("backward", _rows, tile(2048, 2048), {"column_stride": 1}),
            ("weights", _weights, weight_tile(2048, 2048), {}),
        )
    ]
