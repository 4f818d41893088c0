# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""Rotary position embedding in triton. The rules that make one source right everywhere: docs/kernels.md.

A program turns all heads of a token, of the queries and then of the keys, so that its angles are read once. Reads and
writes go by the strides of a token and of a head.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator
from sft_kernels.ops.rope import turned

__all__ = ["heads_of", "rotate", "rotate_", "specialisations"]

ELEMENTS = 1024  # of pairs that a program holds at once
WARPS = 4


@triton.jit
def table_row(
    positions_ptr, b, s, positions_stride_b, positions_stride_s, table_stride_b, table_stride_s, n_positions, n_pairs
):
    """Where a token's angles begin, and how many pairs have any: a position outside the table has none."""
    at = b * table_stride_b + s * table_stride_s
    found = n_pairs
    if positions_ptr is not None:
        position = tl.load(positions_ptr + b * positions_stride_b + s * positions_stride_s).to(tl.int64)
        at = position * table_stride_s
        found = tl.where(position >= n_positions, 0, n_pairs)
        found = tl.where(position < 0, 0, found)
    return at, found


@triton.jit
def table_pair(cos_ptr, sin_ptr, at, found, first, second, pair, HALF_WIDTH: tl.constexpr, ACC: tl.constexpr):
    """Cosines and sines of the first and second of each pair; NaN where there are none."""
    mask = pair < found
    cos_a = tl.load(cos_ptr + at + (pair if HALF_WIDTH else first), mask=mask, other=float("nan")).to(ACC)
    sin_a = tl.load(sin_ptr + at + (pair if HALF_WIDTH else first), mask=mask, other=float("nan")).to(ACC)
    cos_b = cos_a
    sin_b = sin_a
    if not HALF_WIDTH:
        cos_b = tl.load(cos_ptr + at + second, mask=mask, other=float("nan")).to(ACC)
        sin_b = tl.load(sin_ptr + at + second, mask=mask, other=float("nan")).to(ACC)
    return cos_a, cos_b, sin_a, sin_b


@triton.jit
def _turn(
    x_ptr,
    y_ptr,
    n_heads,
    x_stride_h,
    y_stride_h,
    n_columns,
    first,
    second,
    inside,
    rotary,
    cos_a,
    cos_b,
    sin_a,
    sin_b,
    BACK: tl.constexpr,
    PASS: tl.constexpr,
    HEADS: tl.constexpr,
    ACC: tl.constexpr,
):
    """One token's heads, a block of them at a time; columns from `rotary` on are copied."""
    for start in range(0, n_heads, HEADS):
        heads = start + tl.arange(0, HEADS)
        mask = (heads < n_heads)[:, None] & inside[None, :]
        x = x_ptr + heads[:, None].to(tl.int64) * x_stride_h
        y = y_ptr + heads[:, None].to(tl.int64) * y_stride_h
        a = tl.load(x + first[None, :], mask=mask, other=0.0).to(ACC)
        b = tl.load(x + second[None, :], mask=mask, other=0.0).to(ACC)
        if BACK:
            turned_a = a * cos_a[None, :] + b * sin_b[None, :]
            turned_b = b * cos_b[None, :] - a * sin_a[None, :]
        else:
            turned_a = a * cos_a[None, :] - b * sin_a[None, :]
            turned_b = b * cos_b[None, :] + a * sin_b[None, :]
        tl.store(y + first[None, :], turned_a.to(y_ptr.dtype.element_ty), mask=mask)
        tl.store(y + second[None, :], turned_b.to(y_ptr.dtype.element_ty), mask=mask)
        if PASS > 0:
            rest = rotary + tl.arange(0, PASS)
            kept = (heads < n_heads)[:, None] & (rest < n_columns)[None, :]
            tl.store(y + rest[None, :], tl.load(x + rest[None, :], mask=kept, other=0.0), mask=kept)


@triton.jit(do_not_specialize=["n_tokens", "n_positions", "positions_stride_b"])
def _rotate(
    q_ptr,
    k_ptr,
    q_out_ptr,
    k_out_ptr,
    cos_ptr,
    sin_ptr,
    positions_ptr,
    n_tokens,
    n_columns,
    n_pairs,
    n_positions,
    q_heads,
    k_heads,
    q_stride_b,
    q_stride_s,
    q_stride_h,
    k_stride_b,
    k_stride_s,
    k_stride_h,
    q_out_stride_b,
    q_out_stride_s,
    q_out_stride_h,
    k_out_stride_b,
    k_out_stride_s,
    k_out_stride_h,
    table_stride_b,
    table_stride_s,
    positions_stride_b,
    positions_stride_s,
    INTERLEAVED: tl.constexpr,
    HALF_WIDTH: tl.constexpr,
    BACK: tl.constexpr,
    PAIRS: tl.constexpr,
    PASS: tl.constexpr,
    HEADS: tl.constexpr,
    ACC: tl.constexpr,
):
    b = (tl.program_id(0) // n_tokens).to(tl.int64)
    s = (tl.program_id(0) % n_tokens).to(tl.int64)
    pair = tl.arange(0, PAIRS)
    inside = pair < n_pairs
    if INTERLEAVED:
        first = 2 * pair
        second = first + 1
    else:
        first = pair
        second = pair + n_pairs
    at, found = table_row(
        positions_ptr,
        b,
        s,
        positions_stride_b,
        positions_stride_s,
        table_stride_b,
        table_stride_s,
        n_positions,
        n_pairs,
    )
    cos_a, cos_b, sin_a, sin_b = table_pair(cos_ptr, sin_ptr, at, found, first, second, pair, HALF_WIDTH, ACC)
    rotary = 2 * n_pairs
    _turn(
        q_ptr + b * q_stride_b + s * q_stride_s,
        q_out_ptr + b * q_out_stride_b + s * q_out_stride_s,
        q_heads,
        q_stride_h,
        q_out_stride_h,
        n_columns,
        first,
        second,
        inside,
        rotary,
        cos_a,
        cos_b,
        sin_a,
        sin_b,
        BACK,
        PASS,
        HEADS,
        ACC,
    )
    if k_ptr is not None:
        _turn(
            k_ptr + b * k_stride_b + s * k_stride_s,
            k_out_ptr + b * k_out_stride_b + s * k_out_stride_s,
            k_heads,
            k_stride_h,
            k_out_stride_h,
            n_columns,
            first,
            second,
            inside,
            rotary,
            cos_a,
            cos_b,
            sin_a,
            sin_b,
            BACK,
            PASS,
            HEADS,
            ACC,
        )


def rotate(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None,
    interleaved: bool,
    half_width: bool,
    back: bool,
) -> tuple[Tensor, Tensor]:
    """As the reference's."""
    q_out, k_out = columns_together(torch.empty_like(q)), None if k is None else columns_together(torch.empty_like(k))
    _launch((q, k, q_out, k_out), (cos, sin, positions), interleaved, half_width, back)
    return as_laid_out(q_out, q), q.new_empty(0) if k is None or k_out is None else as_laid_out(k_out, k)


def rotate_(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None, interleaved: bool, half_width: bool) -> None:
    """As the reference's."""
    if x.stride(-1) != 1:
        x.copy_(rotate(x, None, cos, sin, positions, interleaved, half_width, False)[0])
        return
    _launch((x, None, x, None), (cos, sin, positions), interleaved, half_width, False)


def heads_of(columns: int, most: int) -> int:
    """How many heads of a token a program holds at once, for heads of a number of columns or pairs."""
    return max(1, min(triton.next_power_of_2(most), ELEMENTS // columns))


def columns_together(x: Tensor) -> Tensor:
    """The tensor with a head's elements next to one another; a copy only where it must be."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def table_together(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the same strides, and the angles of a token next to one another."""
    cos, sin = columns_together(cos), columns_together(sin)
    return (cos, sin) if cos.stride() == sin.stride() else (cos.contiguous(), sin.contiguous())


def as_laid_out(y: Tensor, x: Tensor) -> Tensor:
    """The result with the strides that ``empty_like(x)`` has; a copy only where a head's elements lie apart."""
    like = torch.empty_like(x)
    return y if y.stride() == like.stride() else like.copy_(y)


def _launch(
    tensors: tuple[Tensor, Tensor | None, Tensor, Tensor | None],
    table: tuple[Tensor, Tensor, Tensor | None],
    interleaved: bool,
    half_width: bool,
    back: bool,
) -> None:
    q, k, q_out, k_out = tensors
    if q.numel() == 0:
        return
    q, k = columns_together(q), None if k is None else columns_together(k)
    (cos, sin), positions = table_together(table[0], table[1]), table[2]
    width, columns = turned(cos, half_width), q.shape[3]
    n_pairs = max(1, triton.next_power_of_2(width // 2))
    most = max(q.shape[2], 0 if k is None else k.shape[2])
    with torch.cuda.device_of(q):
        _rotate[(q.shape[0] * q.shape[1],)](
            q,
            k,
            q_out,
            k_out,
            cos,
            sin,
            positions,
            q.shape[1],
            columns,
            width // 2,
            cos.shape[0],
            q.shape[2],
            0 if k is None else k.shape[2],
            *strides(q),
            *strides(k),
            *strides(q_out),
            *strides(k_out),
            *((0, cos.stride(0)) if positions is not None else cos.stride()[:2]),
            *((0, 0) if positions is None else positions.stride()),
            INTERLEAVED=interleaved,
            HALF_WIDTH=half_width,
            BACK=back,
            PAIRS=n_pairs,
            PASS=0 if q is q_out or width == columns else triton.next_power_of_2(columns - width),
            HEADS=heads_of(n_pairs, most),
            ACC=tl.float64 if accumulator(q.dtype) == torch.float64 else tl.float32,
            num_warps=WARPS,
            enable_fp_fusion=True,  # triton 3.10 turns it off by default, which would change results
        )


def strides(x: Tensor | None) -> tuple[int, int, int]:
    """Of batch, token and head."""
    return (0, 0, 0) if x is None else (x.stride(0), x.stride(1), x.stride(2))


def specialisations() -> list[Specialisation]:
    """Llama's heads with angles per token, GPT-OSS's with a table, and a part of neighbours in a head, each way."""
    types = {f"{name}_ptr": "*bf16" for name in ("q", "k", "q_out", "k_out", "cos", "sin")}
    types["positions_ptr"] = "*i64"
    forms = (("given_64", 64, 0, False, False), ("cached_32", 32, 0, True, False), ("part_32", 32, 64, False, True))
    found: list[Specialisation] = []
    for name, pairs, rest, cached, interleaved in forms:
        for back in (False, True):
            constants = {"INTERLEAVED": interleaved, "HALF_WIDTH": cached, "BACK": back, "PAIRS": pairs, "PASS": rest}
            constants |= {"HEADS": heads_of(pairs, 32), "ACC": tl.float32}
            constants |= {} if cached else {"positions_ptr": None}
            found.append(Specialisation(f"rope_{name}_{'back' if back else 'there'}", _rotate, types, constants, WARPS))
    return found
