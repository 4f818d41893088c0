# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""Norms and rotary embedding in triton, built as `rope` is: a token's heads at a time, queries and then keys.

The backward pass has a fixed number of programs, as `rms_norm`'s has, whose sums of the weights' gradients stay in
registers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator
from sft_kernels.ops.rope import turned
from sft_kernels.ops.rope.triton import as_laid_out, columns_together, strides, table_pair, table_row, table_together

__all__ = ["backward", "forward", "specialisations"]

ELEMENTS = 1024  # of pairs that a program holds at once; the backward pass holds four such tensors
PROGRAMS = 396  # of the backward pass: three for each of an H100's multiprocessors
WARPS = 4


@triton.jit
def _weights(weight_ptr, offset, first, second, rest, inside, n_columns, PASS: tl.constexpr, ACC: tl.constexpr):
    a = tl.load(weight_ptr + first, mask=inside, other=0.0).to(ACC) + offset
    b = tl.load(weight_ptr + second, mask=inside, other=0.0).to(ACC) + offset
    c = a
    if PASS > 0:
        c = tl.load(weight_ptr + rest, mask=rest < n_columns, other=0.0).to(ACC) + offset
    return a, b, c


@triton.jit
def _heads(x, heads, n_heads, stride_h, first, second, rest, inside, n_columns, PASS: tl.constexpr, ACC: tl.constexpr):
    """Heads of a token: first and second of pairs, and what is not turned."""
    row = x + heads[:, None].to(tl.int64) * stride_h
    mask = (heads < n_heads)[:, None] & inside[None, :]
    a = tl.load(row + first[None, :], mask=mask, other=0.0).to(ACC)
    b = tl.load(row + second[None, :], mask=mask, other=0.0).to(ACC)
    c = a
    if PASS > 0:
        c = tl.load(row + rest[None, :], mask=(heads < n_heads)[:, None] & (rest < n_columns)[None, :], other=0.0)
        c = c.to(ACC)
    return a, b, c


@triton.jit
def _store(y, heads, n_heads, stride_h, a, b, c, first, second, rest, inside, n_columns, PASS: tl.constexpr):
    row = y + heads[:, None].to(tl.int64) * stride_h
    mask = (heads < n_heads)[:, None] & inside[None, :]
    tl.store(row + first[None, :], a.to(y.dtype.element_ty), mask=mask)
    tl.store(row + second[None, :], b.to(y.dtype.element_ty), mask=mask)
    if PASS > 0:
        kept = (heads < n_heads)[:, None] & (rest < n_columns)[None, :]
        tl.store(row + rest[None, :], c.to(y.dtype.element_ty), mask=kept)


@triton.jit
def _mean(a, b, c, n_columns, PASS: tl.constexpr):
    total = tl.sum(a, 1) + tl.sum(b, 1)
    if PASS > 0:
        total += tl.sum(c, 1)
    return (total / n_columns)[:, None]


@triton.jit
def _there(
    x, y, weight_ptr, n_heads, x_stride_h, y_stride_h, eps, offset, first, second, rest, inside, n_columns,
    cos_a, cos_b, sin_a, sin_b, PASS: tl.constexpr, HEADS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    wa, wb, wc = _weights(weight_ptr, offset, first, second, rest, inside, n_columns, PASS, ACC)
    for start in range(0, n_heads, HEADS):
        heads = start + tl.arange(0, HEADS)
        a, b, c = _heads(x, heads, n_heads, x_stride_h, first, second, rest, inside, n_columns, PASS, ACC)
        rstd = 1.0 / tl.sqrt(_mean(a * a, b * b, c * c, n_columns, PASS) + eps)
        a = a * rstd * wa[None, :]
        b = b * rstd * wb[None, :]
        c = c * rstd * wc[None, :]
        turned_a = a * cos_a[None, :] - b * sin_a[None, :]
        turned_b = b * cos_b[None, :] + a * sin_b[None, :]
        _store(y, heads, n_heads, y_stride_h, turned_a, turned_b, c, first, second, rest, inside, n_columns, PASS)


@triton.jit
def _back(
    grad, x, dx, weight_ptr, n_heads, grad_stride_h, x_stride_h, dx_stride_h, eps, offset, first, second, rest, inside,
    n_columns, cos_a, cos_b, sin_a, sin_b, sum_a, sum_b, sum_c, PASS: tl.constexpr, HEADS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """The gradient of one token's heads; returns the sums of the weight's gradient with this token's added."""
    wa, wb, wc = _weights(weight_ptr, offset, first, second, rest, inside, n_columns, PASS, ACC)
    for start in range(0, n_heads, HEADS):
        heads = start + tl.arange(0, HEADS)
        ga, gb, gc = _heads(grad, heads, n_heads, grad_stride_h, first, second, rest, inside, n_columns, PASS, ACC)
        a, b, c = _heads(x, heads, n_heads, x_stride_h, first, second, rest, inside, n_columns, PASS, ACC)
        rstd = 1.0 / tl.sqrt(_mean(a * a, b * b, c * c, n_columns, PASS) + eps)
        a *= rstd
        b *= rstd
        c *= rstd
        ha = tl.where(inside[None, :], ga * cos_a[None, :] + gb * sin_b[None, :], 0.0)
        hb = tl.where(inside[None, :], gb * cos_b[None, :] - ga * sin_a[None, :], 0.0)
        sum_a += tl.sum(ha * a, 0)
        sum_b += tl.sum(hb * b, 0)
        ha *= wa[None, :]
        hb *= wb[None, :]
        if PASS > 0:
            sum_c += tl.sum(gc * c, 0)
            gc *= wc[None, :]
        mean = _mean(ha * a, hb * b, gc * c, n_columns, PASS)
        da = rstd * (ha - a * mean)
        db = rstd * (hb - b * mean)
        dc = rstd * (gc - c * mean)
        _store(dx, heads, n_heads, dx_stride_h, da, db, dc, first, second, rest, inside, n_columns, PASS)
    return sum_a, sum_b, sum_c


@triton.jit
def _columns(n_pairs, PAIRS: tl.constexpr, PASS: tl.constexpr, INTERLEAVED: tl.constexpr):
    """First and second of pairs, which pairs exist, and the columns that are not turned."""
    pair = tl.arange(0, PAIRS)
    if INTERLEAVED:
        first = 2 * pair
        second = first + 1
    else:
        first = pair
        second = pair + n_pairs
    rest = pair
    if PASS > 0:
        rest = 2 * n_pairs + tl.arange(0, PASS)
    return pair, first, second, rest, pair < n_pairs


@triton.jit(do_not_specialize=["n_tokens", "n_positions", "positions_stride_b"])
def _forward(
    q_ptr, k_ptr, q_out_ptr, k_out_ptr, q_weight_ptr, k_weight_ptr, cos_ptr, sin_ptr, positions_ptr,
    n_tokens, n_columns, n_pairs, n_positions, q_heads, k_heads,
    q_stride_b, q_stride_s, q_stride_h, k_stride_b, k_stride_s, k_stride_h,
    q_out_stride_b, q_out_stride_s, q_out_stride_h, k_out_stride_b, k_out_stride_s, k_out_stride_h,
    table_stride_b, table_stride_s, positions_stride_b, positions_stride_s, eps, offset,
    INTERLEAVED: tl.constexpr, HALF_WIDTH: tl.constexpr, PAIRS: tl.constexpr, PASS: tl.constexpr, HEADS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    b = (tl.program_id(0) // n_tokens).to(tl.int64)
    s = (tl.program_id(0) % n_tokens).to(tl.int64)
    pair, first, second, rest, inside = _columns(n_pairs, PAIRS, PASS, INTERLEAVED)
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
    eps = tl.cast(eps, ACC)
    offset = tl.cast(offset, ACC)
    q = q_ptr + b * q_stride_b + s * q_stride_s
    k = k_ptr + b * k_stride_b + s * k_stride_s
    q_out = q_out_ptr + b * q_out_stride_b + s * q_out_stride_s
    k_out = k_out_ptr + b * k_out_stride_b + s * k_out_stride_s
    _there(
        q, q_out, q_weight_ptr, q_heads, q_stride_h, q_out_stride_h, eps, offset, first, second, rest, inside,
        n_columns, cos_a, cos_b, sin_a, sin_b, PASS, HEADS, ACC,
    )  # fmt: skip
    _there(
        k, k_out, k_weight_ptr, k_heads, k_stride_h, k_out_stride_h, eps, offset, first, second, rest, inside,
        n_columns, cos_a, cos_b, sin_a, sin_b, PASS, HEADS, ACC,
    )  # fmt: skip


@triton.jit
def _keep(partial_ptr, which, n_columns, a, b, c, first, second, rest, inside, PASS: tl.constexpr):
    row = partial_ptr + (tl.program_id(0).to(tl.int64) * 2 + which) * n_columns
    tl.store(row + first, a, mask=inside)
    tl.store(row + second, b, mask=inside)
    if PASS > 0:
        tl.store(row + rest, c, mask=rest < n_columns)


@triton.jit(do_not_specialize=["n_batches", "n_tokens", "n_positions", "positions_stride_b"])
def _backward(
    grad_q_ptr, grad_k_ptr, q_ptr, k_ptr, dq_ptr, dk_ptr, q_weight_ptr, k_weight_ptr, cos_ptr, sin_ptr, positions_ptr,
    partial_ptr, n_batches, n_tokens, n_columns, n_pairs, n_positions, q_heads, k_heads,
    grad_q_stride_b, grad_q_stride_s, grad_q_stride_h, grad_k_stride_b, grad_k_stride_s, grad_k_stride_h,
    q_stride_b, q_stride_s, q_stride_h, k_stride_b, k_stride_s, k_stride_h,
    dq_stride_b, dq_stride_s, dq_stride_h, dk_stride_b, dk_stride_s, dk_stride_h,
    table_stride_b, table_stride_s, positions_stride_b, positions_stride_s, eps, offset,
    INTERLEAVED: tl.constexpr, HALF_WIDTH: tl.constexpr, PAIRS: tl.constexpr, PASS: tl.constexpr, HEADS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    pair, first, second, rest, inside = _columns(n_pairs, PAIRS, PASS, INTERLEAVED)
    eps = tl.cast(eps, ACC)
    offset = tl.cast(offset, ACC)
    q_a = tl.zeros((PAIRS,), ACC)
    q_b = tl.zeros((PAIRS,), ACC)
    k_a = tl.zeros((PAIRS,), ACC)
    k_b = tl.zeros((PAIRS,), ACC)
    q_c = q_a
    k_c = k_a
    if PASS > 0:
        q_c = tl.zeros((PASS,), ACC)
        k_c = tl.zeros((PASS,), ACC)
    for token in range(tl.program_id(0), n_batches * n_tokens, tl.num_programs(0)):
        b = tl.cast(token // n_tokens, tl.int64)
        s = tl.cast(token % n_tokens, tl.int64)
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
        grad_q = grad_q_ptr + b * grad_q_stride_b + s * grad_q_stride_s
        grad_k = grad_k_ptr + b * grad_k_stride_b + s * grad_k_stride_s
        q = q_ptr + b * q_stride_b + s * q_stride_s
        k = k_ptr + b * k_stride_b + s * k_stride_s
        dq = dq_ptr + b * dq_stride_b + s * dq_stride_s
        dk = dk_ptr + b * dk_stride_b + s * dk_stride_s
        q_a, q_b, q_c = _back(
            grad_q, q, dq, q_weight_ptr, q_heads, grad_q_stride_h, q_stride_h, dq_stride_h, eps, offset, first,
            second, rest, inside, n_columns, cos_a, cos_b, sin_a, sin_b, q_a, q_b, q_c, PASS, HEADS, ACC,
        )  # fmt: skip
        k_a, k_b, k_c = _back(
            grad_k, k, dk, k_weight_ptr, k_heads, grad_k_stride_h, k_stride_h, dk_stride_h, eps, offset, first,
            second, rest, inside, n_columns, cos_a, cos_b, sin_a, sin_b, k_a, k_b, k_c, PASS, HEADS, ACC,
        )  # fmt: skip
    if partial_ptr is not None:
        _keep(partial_ptr, 0, n_columns, q_a, q_b, q_c, first, second, rest, inside, PASS)
        _keep(partial_ptr, 1, n_columns, k_a, k_b, k_c, first, second, rest, inside, PASS)


def forward(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None,
    eps: float,
    offset: float,
    interleaved: bool,
    half_width: bool,
) -> tuple[Tensor, Tensor]:
    """As the reference's forward."""
    like = (q, k)
    q, k = columns_together(q), columns_together(k)
    q_out, k_out = (columns_together(torch.empty_like(each)) for each in like)
    table = table_together(cos, sin)
    sizes, table_strides, constants = _shape(q, k, table[0], positions, interleaved, half_width)
    if q.numel() > 0:
        with torch.cuda.device_of(q):
            _forward[(q.shape[0] * q.shape[1],)](
                q,
                k,
                q_out,
                k_out,
                q_weight.contiguous(),
                k_weight.contiguous(),
                *table,
                positions,
                *sizes,
                *strides(q),
                *strides(k),
                *strides(q_out),
                *strides(k_out),
                *table_strides,
                eps,
                offset,
                **constants,
            )
    return as_laid_out(q_out, like[0]), as_laid_out(k_out, like[1])


def backward(
    grad_q: Tensor,
    grad_k: Tensor,
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None,
    eps: float,
    offset: float,
    interleaved: bool,
    half_width: bool,
    weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As the reference's backward."""
    like = (q, k)
    q, k, grad_q, grad_k = (columns_together(each) for each in (q, k, grad_q, grad_k))
    dq, dk = (columns_together(torch.empty_like(each)) for each in like)
    table = table_together(cos, sin)
    sizes, table_strides, constants = _shape(q, k, table[0], positions, interleaved, half_width)
    programs = max(1, min(PROGRAMS, q.shape[0] * q.shape[1]))
    partial = q.new_empty(programs, 2, q.shape[3], dtype=accumulator(q.dtype)) if weights else None
    with torch.cuda.device_of(q):
        _backward[(programs,)](
            grad_q,
            grad_k,
            q,
            k,
            dq,
            dk,
            q_weight.contiguous(),
            k_weight.contiguous(),
            *table,
            positions,
            partial,
            q.shape[0],
            *sizes,
            *(stride for each in (grad_q, grad_k, q, k, dq, dk) for stride in strides(each)),
            *table_strides,
            eps,
            offset,
            **constants,
        )
    summed = q.new_empty(0, dtype=accumulator(q.dtype)) if partial is None else partial.sum(0)
    return as_laid_out(dq, like[0]), as_laid_out(dk, like[1]), summed


def _shape(
    q: Tensor, k: Tensor, cos: Tensor, positions: Tensor | None, interleaved: bool, half_width: bool
) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, object]]:
    """Sizes, strides of angles and positions, and constants of both kernels."""
    width, columns = turned(cos, half_width), q.shape[3]
    pairs = max(1, triton.next_power_of_2(width // 2))
    rest = 0 if width == columns else triton.next_power_of_2(columns - width)
    sizes = (q.shape[1], columns, width // 2, cos.shape[0], q.shape[2], k.shape[2])
    of_table = (0, cos.stride(0)) if positions is not None else (cos.stride(0), cos.stride(1))
    of_positions = (0, 0) if positions is None else (positions.stride(0), positions.stride(1))
    constants = {
        "INTERLEAVED": interleaved,
        "HALF_WIDTH": half_width,
        "PAIRS": pairs,
        "PASS": rest,
        "HEADS": _heads_at_once(pairs, rest, max(q.shape[2], k.shape[2])),
        "ACC": tl.float64 if accumulator(q.dtype) == torch.float64 else tl.float32,
        "num_warps": WARPS,
        "enable_fp_fusion": True,  # triton 3.10 turns it off by default, which would change results
    }
    return sizes, (*of_table, *of_positions), constants


def _heads_at_once(pairs: int, rest: int, most: int) -> int:
    """A power of two of heads, as many as a program holds of this width and has use for."""
    fitting = 1 << max(0, (2 * ELEMENTS // (2 * pairs + rest)).bit_length() - 1)
    return min(triton.next_power_of_2(most), fitting)


def specialisations() -> list[Specialisation]:
    """Qwen3's heads, Gemma 3's, and heads of which a part is turned, in bfloat16."""
    names = ("q", "k", "q_out", "k_out", "q_weight", "k_weight", "cos", "sin", "grad_q", "grad_k", "dq", "dk")
    types = {f"{name}_ptr": "*bf16" for name in names} | {"partial_ptr": "*fp32", "eps": "fp32", "offset": "fp32"}
    found: list[Specialisation] = []
    for pairs, rest, most in ((64, 0, 32), (128, 0, 8), (32, 256, 16)):
        constants = {"INTERLEAVED": False, "HALF_WIDTH": False, "PAIRS": pairs, "PASS": rest, "positions_ptr": None}
        constants |= {"HEADS": _heads_at_once(pairs, rest, most), "ACC": tl.float32}
        for kernel in (_forward, _backward):
            found.append(Specialisation(f"qk_norm_rope{kernel.fn.__name__}_{pairs}", kernel, types, constants, WARPS))
    return found
