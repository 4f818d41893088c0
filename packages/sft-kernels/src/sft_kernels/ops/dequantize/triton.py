# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""Dequantisation in triton: one pass, scales of scales included. See docs/kernels.md for the rules of kernels.

Multiply-adds are not fused here: the scales of scales would differ from bitsandbytes' in the last bit.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation
from sft_kernels.ops.dequantize.reference import ONE_127TH

__all__ = ["blockwise", "rowwise", "specialisations"]

BYTES = 1024  # of a program: 8 for each of its threads, in one or two loads
WARPS = 4


@triton.jit
def _scales(absmax_ptr, nested_absmax_ptr, nested_code_ptr, offset_ptr, block, mask, nested_blocksize):
    absmax = tl.load(absmax_ptr + block, mask=mask, other=0)
    if nested_absmax_ptr is not None:
        outer = tl.load(nested_absmax_ptr + block // nested_blocksize, mask=mask, other=0.0)
        scale = tl.load(nested_code_ptr + absmax.to(tl.int32)) * outer + tl.load(offset_ptr)
    else:
        scale = absmax.to(tl.float32)
    return scale


@triton.jit
def _blockwise(
    packed_ptr,
    absmax_ptr,
    code_ptr,
    nested_absmax_ptr,
    nested_code_ptr,
    offset_ptr,
    out_ptr,
    n_elements,
    n_bytes,
    blocksize,
    nested_blocksize,
    FOUR: tl.constexpr,
    BYTES: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * BYTES + tl.arange(0, BYTES)
    byte = tl.load(packed_ptr + place, mask=place < n_bytes, other=0).to(tl.int32)
    if FOUR:
        index = tl.interleave(byte >> 4, byte & 15)
        element = tl.program_id(0).to(tl.int64) * (2 * BYTES) + tl.arange(0, 2 * BYTES)
    else:
        index = byte
        element = place
    mask = element < n_elements
    scale = _scales(
        absmax_ptr, nested_absmax_ptr, nested_code_ptr, offset_ptr, element // blocksize, mask, nested_blocksize
    )
    value = tl.load(code_ptr + index) * scale
    tl.store(out_ptr + element, value.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _rowwise(quantised_ptr, scale_ptr, out_ptr, n_columns, ONE_127TH: tl.constexpr, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask = column < n_columns
    value = tl.load(quantised_ptr + row * n_columns + column, mask=mask, other=0).to(tl.float32)
    value = value * tl.load(scale_ptr + row) * tl.cast(ONE_127TH, tl.float32)
    tl.store(out_ptr + row * n_columns + column, value.to(out_ptr.dtype.element_ty), mask=mask)


def blockwise(
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
    """As the reference's blockwise."""
    out = packed.new_empty(tuple(shape), dtype=dtype)
    with torch.cuda.device_of(packed):
        _blockwise[(max(1, triton.cdiv(packed.numel(), BYTES)),)](
            packed,
            absmax.contiguous(),
            code.contiguous(),
            nested_absmax,
            nested_code,
            offset,
            out,
            out.numel(),
            packed.numel(),
            blocksize,
            nested_blocksize,
            FOUR=code.numel() == 16,
            BYTES=BYTES,
            num_warps=WARPS,
            enable_fp_fusion=False,
        )
    return out


def rowwise(quantised: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """As the reference's rowwise."""
    out = quantised.new_empty(quantised.shape, dtype=dtype)
    rows, columns = quantised.shape
    if out.numel():
        with torch.cuda.device_of(quantised):
            _rowwise[(rows, triton.cdiv(columns, 2 * BYTES))](
                quantised,
                scale.contiguous(),
                out,
                columns,
                ONE_127TH=ONE_127TH,
                COLUMNS=2 * BYTES,
                num_warps=WARPS,
                enable_fp_fusion=False,
            )
    return out


def specialisations() -> list[Specialisation]:
    """NF4 with scales of scales, 8 bits in blocks, and int8 by rows, to bfloat16."""
    floats = ("absmax", "code", "nested_absmax", "nested_code", "offset", "scale")
    types = {f"{name}_ptr": "*fp32" for name in floats} | {"packed_ptr": "*u8", "quantised_ptr": "*i8"}
    types |= {"out_ptr": "*bf16"}
    plain = {f"{name}_ptr": None for name in ("nested_absmax", "nested_code", "offset")}
    return [
        Specialisation("nf4", _blockwise, types | {"absmax_ptr": "*u8"}, {"FOUR": True, "BYTES": BYTES}, WARPS),
        Specialisation("8bit", _blockwise, types, plain | {"FOUR": False, "BYTES": BYTES}, WARPS),
        Specialisation("int8", _rowwise, types, {"ONE_127TH": ONE_127TH, "COLUMNS": 2 * BYTES}, WARPS),
    ]
