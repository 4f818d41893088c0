# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
# pyright: reportGeneralTypeIssues=false
"""Varlen attention in triton. The rules that make one source right on GPUs and in the interpreter: docs/kernels.md.

Forward pass: Dao, "FlashAttention-2" (arXiv:2307.08691), a program per block of queries. Backward pass without
atomics: one kernel gives dq, a program per block of queries, another dk and dv, a program per block of keys that sums
over the query heads of its group. Both compute the scores again, which is seven products instead of five and the price
of bits that do not change from run to run.

A block lies in one document. With blocks of B tokens, document d has the numbers from ``cu[d] // B + d`` on, which is
room enough for all its tokens, so there are at most ``tokens // B + documents`` and a program finds its document by
bisection: nothing has to be read on the host. Programs whose number is not used return.

A program walks over blocks of the other side in up to three stretches: those that the left edge of the window cuts,
those that every row sees in full, which need no mask, and those that the diagonal or the document's end cuts.
Scores are in base 2: ``exp2(x * log2(e))`` is one multiply-add and one instruction.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator
from sft_kernels.tiles import KERNELS, Tile, key_of, tile_of

__all__ = ["backward", "forward", "specialisations"]

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


class Tiles(NamedTuple):
    """Those of the three kernels."""

    forward: Tile
    dq: Tile
    dkv: Tile


# Shipped tiles (tiles.json) were chosen for what the gate reports: next to no spills, and wgmma on Hopper, which wants
# 64 rows for each group of four warps. No GPU has timed them yet.
INTERPRETED = Tile(16, 16, 4, 2)  # small, so that small inputs have several blocks
SMALL = Tile(32, 32, 4, 1)  # of float32 and float64, and where shared memory is short


def tiles(device: torch.device, dtype: torch.dtype, width: int) -> Tiles:
    """The tiles for a head of `width` (a power of two) elements."""
    otherwise = INTERPRETED if device.type == "cpu" else SMALL
    return Tiles(*(tile_of(key_of(name, dtype, max(64, width), device)) or otherwise for name in KERNELS))


@triton.jit
def _document(cu_ptr, n_documents, block, BLOCK: tl.constexpr):
    """The document that block number `block` lies in: the last d with ``cu[d] // BLOCK + d <= block``."""
    low = block * 0
    high = low + n_documents - 1
    while low < high:
        middle = (low + high + 1) // 2
        at_or_before = tl.load(cu_ptr + middle) // BLOCK + middle <= block
        low = tl.where(at_or_before, middle, low)
        high = tl.where(at_or_before, high, middle - 1)
    return low


@triton.jit
def _load(ptr, rows, columns, stride, n_rows, n_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Rows ``[rows, columns]``; what is outside is 0. ROWS and COLUMNS: whether something may be."""
    at = ptr + rows[:, None].to(tl.int64) * stride + columns[None, :]
    if ROWS and COLUMNS:
        return tl.load(at, mask=(rows[:, None] < n_rows) & (columns[None, :] < n_columns), other=0.0)
    elif ROWS:  # noqa: RET505  (triton compiles what comes after a return in an if of constants)
        return tl.load(at, mask=rows[:, None] < n_rows, other=0.0)
    elif COLUMNS:
        return tl.load(at, mask=columns[None, :] < n_columns, other=0.0)
    else:
        return tl.load(at)


@triton.jit
def _store(ptr, value, rows, columns, stride, n_rows, n_columns):
    at = ptr + rows[:, None].to(tl.int64) * stride + columns[None, :]
    mask = (rows[:, None] < n_rows) & (columns[None, :] < n_columns)
    tl.store(at, value.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def _seen(queries, keys, n_keys, shift, left, right, LEFT: tl.constexpr, RIGHT: tl.constexpr):
    """Whether a query sees a key; `queries` and `keys` are of shapes that broadcast."""
    seen = keys < n_keys
    if RIGHT:
        seen = seen & (keys <= queries + shift + right)
    if LEFT:
        seen = seen & (keys >= queries + shift - left)
    return seen


@triton.jit
def _scores(product, scale, softcap, CAPPED: tl.constexpr, ACC: tl.constexpr):
    """Scores in base 2, and with a softcap what the gradient is multiplied by."""
    if CAPPED:
        bent = 2.0 * tl.sigmoid(product * (2.0 * scale / softcap)) - 1.0  # tanh
        return bent * (softcap * tl.cast(LOG2E, ACC)), 1.0 - bent * bent
    else:  # noqa: RET505
        return product * (scale * tl.cast(LOG2E, ACC)), 1.0


@triton.jit
def _key_stretches(start, n_queries, n_keys, left, right, LEFT: tl.constexpr, RIGHT: tl.constexpr,
                   QUERIES: tl.constexpr, KEYS: tl.constexpr):  # fmt: skip
    """Where a block of queries begins and ends to see keys, and between which keys all its rows see all."""
    first = start + n_keys - n_queries  # the key at which the first row stands
    last = first + QUERIES - 1
    low, high = n_keys * 0, n_keys
    full_low, full_high = n_keys * 0, n_keys // KEYS * KEYS
    if RIGHT:
        high = tl.maximum(0, tl.minimum(n_keys, last + right + 1))
        full_high = tl.minimum(full_high, tl.maximum(0, first + right + 1) // KEYS * KEYS)
    if LEFT:
        low = tl.minimum(tl.maximum(0, first - left) // KEYS * KEYS, high)
        full_low = tl.maximum(0, last - left + KEYS - 1) // KEYS * KEYS
    full_low = tl.minimum(tl.maximum(full_low, low), high)
    return low, full_low, tl.minimum(tl.maximum(full_high, full_low), high), high


@triton.jit
def _query_stretches(start, n_queries, n_keys, left, right, LEFT: tl.constexpr, RIGHT: tl.constexpr,
                     QUERIES: tl.constexpr, KEYS: tl.constexpr):  # fmt: skip
    """The same for a block of keys: where queries begin and end to see it, and between which all see all of it.

    Queries after the document's end are read as zeros with an infinite lse, which weighs nothing, so they need no mask.
    """
    first = start - (n_keys - n_queries)  # the query that stands at the first key
    last = first + KEYS - 1
    low, high = n_queries * 0, n_queries
    full_low, full_high = n_queries * 0, n_queries
    if RIGHT:
        low = tl.minimum(tl.maximum(0, first - right) // QUERIES * QUERIES, high)
        full_low = tl.maximum(0, last - right + QUERIES - 1) // QUERIES * QUERIES
    if LEFT:
        high = tl.maximum(low, tl.minimum(n_queries, last + left + 1))
        full_high = tl.minimum(high, tl.maximum(0, first + left + 1) // QUERIES * QUERIES)
    full_low = tl.minimum(tl.maximum(full_low, low), high)
    return low, full_low, tl.minimum(tl.maximum(full_high, full_low), high), high


@triton.jit
def _attend(
    state, q, k_ptr, v_ptr, low, high, queries, n_queries, n_keys, k_stride, v_stride, scale, softcap, left, right,
    d_qk, d_v, MASKED: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, CAPPED: tl.constexpr,
    D_QK: tl.constexpr, D_V: tl.constexpr, EXACT: tl.constexpr, EXACT_V: tl.constexpr, KEYS: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One stretch of keys of the forward pass: sums, largest scores and denominators of a block of queries."""
    total, largest, denominator = state
    for start in tl.range(low, high, KEYS):
        keys = start + tl.arange(0, KEYS)
        k = _load(k_ptr, keys, tl.arange(0, D_QK), k_stride, n_keys, d_qk, MASKED, not EXACT)
        product = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=ACC)
        scores, _ = _scores(product, scale, softcap, CAPPED, ACC)
        if MASKED:
            seen = _seen(queries[:, None], keys[None, :], n_keys, n_keys - n_queries, left, right, LEFT, RIGHT)
            scores = tl.where(seen, scores, float("-inf"))
        larger = tl.maximum(largest, tl.max(scores, 1))
        shift = larger
        if MASKED:  # a row may have seen nothing so far
            shift = tl.where(larger == float("-inf"), 0.0, larger)
        weights = tl.exp2(scores - shift[:, None])
        before = tl.exp2(largest - shift)
        v = _load(v_ptr, keys, tl.arange(0, D_V), v_stride, n_keys, d_v, MASKED, not EXACT_V)
        denominator = denominator * before + tl.sum(weights, 1)
        total = tl.dot(weights.to(v.dtype), v, total * before[:, None], input_precision=PRECISION, out_dtype=ACC)
        largest = larger
    return total, largest, denominator


@triton.jit(do_not_specialize=["n_documents", "total_q", "left", "right"])
def _forward(
    q_ptr, k_ptr, v_ptr, sinks_ptr, out_ptr, lse_ptr, cu_q_ptr, cu_k_ptr, n_documents, total_q, heads, d_qk, d_v,
    q_stride, q_head, k_stride, k_head, v_stride, v_head, scale, softcap, left, right,
    GROUP: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, CAPPED: tl.constexpr,
    D_QK: tl.constexpr, D_V: tl.constexpr, EXACT: tl.constexpr, EXACT_V: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % heads
    # the last blocks of a document take longest where attention is causal: they go first
    block = tl.num_programs(0) // heads - 1 - tl.program_id(0) // heads
    document = _document(cu_q_ptr, n_documents, block, QUERIES)
    first_q = tl.load(cu_q_ptr + document)
    n_queries = tl.load(cu_q_ptr + document + 1) - first_q
    start = (block - first_q // QUERIES - document) * QUERIES
    if start >= n_queries:
        return
    first_k = tl.load(cu_k_ptr + document)
    n_keys = tl.load(cu_k_ptr + document + 1) - first_k
    q_ptr += first_q.to(tl.int64) * q_stride + head * q_head
    k_ptr += first_k.to(tl.int64) * k_stride + (head // GROUP) * k_head
    v_ptr += first_k.to(tl.int64) * v_stride + (head // GROUP) * v_head
    scale, softcap = tl.cast(scale, ACC), tl.cast(softcap, ACC)
    queries = start + tl.arange(0, QUERIES)
    q = _load(q_ptr, queries, tl.arange(0, D_QK), q_stride, n_queries, d_qk, True, not EXACT)
    total = tl.zeros((QUERIES, D_V), ACC)
    if sinks_ptr is not None:
        sink = tl.load(sinks_ptr + head).to(ACC) * tl.cast(LOG2E, ACC)
        largest, denominator = tl.zeros((QUERIES,), ACC) + sink, tl.full((QUERIES,), 1.0, ACC)
    else:
        largest, denominator = tl.full((QUERIES,), float("-inf"), ACC), tl.zeros((QUERIES,), ACC)
    low, full_low, full_high, high = _key_stretches(start, n_queries, n_keys, left, right, LEFT, RIGHT, QUERIES, KEYS)
    state = (total, largest, denominator)
    if LEFT:
        state = _attend(
            state, q, k_ptr, v_ptr, low, full_low, queries, n_queries, n_keys, k_stride, v_stride, scale, softcap,
            left, right, d_qk, d_v, True, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT, EXACT_V, KEYS, PRECISION, ACC,
        )  # fmt: skip
    state = _attend(
        state, q, k_ptr, v_ptr, full_low, full_high, queries, n_queries, n_keys, k_stride, v_stride, scale, softcap,
        left, right, d_qk, d_v, False, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT, EXACT_V, KEYS, PRECISION, ACC,
    )  # fmt: skip
    total, largest, denominator = _attend(
        state, q, k_ptr, v_ptr, full_high, high, queries, n_queries, n_keys, k_stride, v_stride, scale, softcap,
        left, right, d_qk, d_v, True, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT, EXACT_V, KEYS, PRECISION, ACC,
    )  # fmt: skip
    blind = denominator == 0.0
    denominator = tl.where(blind, 1.0, denominator)
    lse = tl.where(blind, float("inf"), (largest + tl.log2(denominator)) * tl.cast(LN2, ACC))
    out_ptr += (first_q.to(tl.int64) * heads + head) * d_v
    _store(out_ptr, total / denominator[:, None], queries, tl.arange(0, D_V), heads * d_v, n_queries, d_v)
    tl.store(lse_ptr + tl.cast(head, tl.int64) * total_q + first_q + queries, lse, mask=queries < n_queries)


@triton.jit(do_not_specialize=["total_q", "dlse_stride"])
def _delta(
    out_ptr, dout_ptr, dlse_ptr, delta_ptr, total_q, heads, d_v, dout_stride, dout_head, dlse_stride,
    D_V: tl.constexpr, EXACT_V: tl.constexpr, QUERIES: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """``sum(out * dout) - dlse``, ``[H, T]``: what the gradient of every score is shifted by."""
    head = tl.program_id(0) % heads
    queries = tl.program_id(0) // heads * QUERIES + tl.arange(0, QUERIES)
    columns = tl.arange(0, D_V)
    out = _load(out_ptr + head * d_v, queries, columns, heads * d_v, total_q, d_v, True, not EXACT_V).to(ACC)
    dout = _load(dout_ptr + head * dout_head, queries, columns, dout_stride, total_q, d_v, True, not EXACT_V).to(ACC)
    delta = tl.sum(out * dout, 1)
    if dlse_ptr is not None:
        dlse = dlse_ptr + tl.cast(head, tl.int64) * dlse_stride + queries
        delta -= tl.load(dlse, mask=queries < total_q, other=0.0).to(ACC)
    tl.store(delta_ptr + tl.cast(head, tl.int64) * total_q + queries, delta, mask=queries < total_q)


@triton.jit
def _add_to_dq(
    dq, q, dout, lse, delta, k_ptr, v_ptr, low, high, queries, n_queries, n_keys, k_stride, v_stride, scale, softcap,
    left, right, d_qk, d_v, MASKED: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, CAPPED: tl.constexpr,
    D_QK: tl.constexpr, D_V: tl.constexpr, EXACT: tl.constexpr, EXACT_V: tl.constexpr, KEYS: tl.constexpr,
    PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One stretch of keys of dq; `lse` is in base 2."""
    for start in tl.range(low, high, KEYS):
        keys = start + tl.arange(0, KEYS)
        k = _load(k_ptr, keys, tl.arange(0, D_QK), k_stride, n_keys, d_qk, MASKED, not EXACT)
        v = _load(v_ptr, keys, tl.arange(0, D_V), v_stride, n_keys, d_v, MASKED, not EXACT_V)
        product = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=ACC)
        scores, slope = _scores(product, scale, softcap, CAPPED, ACC)
        weights = tl.exp2(scores - lse[:, None])
        if MASKED:
            seen = _seen(queries[:, None], keys[None, :], n_keys, n_keys - n_queries, left, right, LEFT, RIGHT)
            weights = tl.where(seen, weights, 0.0)
        dweights = tl.dot(dout, tl.trans(v), input_precision=PRECISION, out_dtype=ACC)
        dscores = weights * (dweights - delta[:, None]) * slope
        dq = tl.dot(dscores.to(k.dtype), k, dq, input_precision=PRECISION, out_dtype=ACC)
    return dq


@triton.jit(do_not_specialize=["n_documents", "total_q", "left", "right"])
def _dq(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dq_ptr, cu_q_ptr, cu_k_ptr, n_documents, total_q, heads,
    d_qk, d_v, q_stride, q_head, k_stride, k_head, v_stride, v_head, dout_stride, dout_head, scale, softcap, left,
    right, GROUP: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, CAPPED: tl.constexpr,
    D_QK: tl.constexpr, D_V: tl.constexpr, EXACT: tl.constexpr, EXACT_V: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % heads
    block = tl.num_programs(0) // heads - 1 - tl.program_id(0) // heads
    document = _document(cu_q_ptr, n_documents, block, QUERIES)
    first_q = tl.load(cu_q_ptr + document)
    n_queries = tl.load(cu_q_ptr + document + 1) - first_q
    start = (block - first_q // QUERIES - document) * QUERIES
    if start >= n_queries:
        return
    first_k = tl.load(cu_k_ptr + document)
    n_keys = tl.load(cu_k_ptr + document + 1) - first_k
    q_ptr += first_q.to(tl.int64) * q_stride + head * q_head
    k_ptr += first_k.to(tl.int64) * k_stride + (head // GROUP) * k_head
    v_ptr += first_k.to(tl.int64) * v_stride + (head // GROUP) * v_head
    dout_ptr += first_q.to(tl.int64) * dout_stride + head * dout_head
    per_row = tl.cast(head, tl.int64) * total_q + first_q
    scale, softcap = tl.cast(scale, ACC), tl.cast(softcap, ACC)
    queries = start + tl.arange(0, QUERIES)
    inside = queries < n_queries
    q = _load(q_ptr, queries, tl.arange(0, D_QK), q_stride, n_queries, d_qk, True, not EXACT)
    dout = _load(dout_ptr, queries, tl.arange(0, D_V), dout_stride, n_queries, d_v, True, not EXACT_V)
    lse = tl.load(lse_ptr + per_row + queries, mask=inside, other=float("inf")) * tl.cast(LOG2E, ACC)
    delta = tl.load(delta_ptr + per_row + queries, mask=inside, other=0.0)
    dq = tl.zeros((QUERIES, D_QK), ACC)
    low, full_low, full_high, high = _key_stretches(start, n_queries, n_keys, left, right, LEFT, RIGHT, QUERIES, KEYS)
    if LEFT:
        dq = _add_to_dq(
            dq, q, dout, lse, delta, k_ptr, v_ptr, low, full_low, queries, n_queries, n_keys, k_stride, v_stride,
            scale, softcap, left, right, d_qk, d_v, True, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT, EXACT_V, KEYS,
            PRECISION, ACC,
        )  # fmt: skip
    dq = _add_to_dq(
        dq, q, dout, lse, delta, k_ptr, v_ptr, full_low, full_high, queries, n_queries, n_keys, k_stride, v_stride,
        scale, softcap, left, right, d_qk, d_v, False, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT, EXACT_V, KEYS,
        PRECISION, ACC,
    )  # fmt: skip
    dq = _add_to_dq(
        dq, q, dout, lse, delta, k_ptr, v_ptr, full_high, high, queries, n_queries, n_keys, k_stride, v_stride,
        scale, softcap, left, right, d_qk, d_v, True, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT, EXACT_V, KEYS,
        PRECISION, ACC,
    )  # fmt: skip
    dq_ptr += (first_q.to(tl.int64) * heads + head) * d_qk
    _store(dq_ptr, dq * scale, queries, tl.arange(0, D_QK), heads * d_qk, n_queries, d_qk)


@triton.jit
def _add_to_dkv(
    state, k, v, q_ptr, dout_ptr, lse_ptr, delta_ptr, low, high, keys, n_queries, n_keys, q_stride, dout_stride,
    scale, softcap, left, right, d_qk, d_v, MASKED: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr,
    CAPPED: tl.constexpr, D_QK: tl.constexpr, D_V: tl.constexpr, EXACT: tl.constexpr, EXACT_V: tl.constexpr,
    QUERIES: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One stretch of queries of dk and dv. Scores are ``[KEYS, QUERIES]``, so that no product needs them turned."""
    dk, dv = state
    for start in tl.range(low, high, QUERIES):
        queries = start + tl.arange(0, QUERIES)
        q = _load(q_ptr, queries, tl.arange(0, D_QK), q_stride, n_queries, d_qk, True, not EXACT)
        dout = _load(dout_ptr, queries, tl.arange(0, D_V), dout_stride, n_queries, d_v, True, not EXACT_V)
        lse = tl.load(lse_ptr + queries, mask=queries < n_queries, other=float("inf"))
        delta = tl.load(delta_ptr + queries, mask=queries < n_queries, other=0.0)
        product = tl.dot(k, tl.trans(q), input_precision=PRECISION, out_dtype=ACC)
        scores, slope = _scores(product, scale, softcap, CAPPED, ACC)
        weights = tl.exp2(scores - lse[None, :] * tl.cast(LOG2E, ACC))
        if MASKED:
            seen = _seen(queries[None, :], keys[:, None], n_keys, n_keys - n_queries, left, right, LEFT, RIGHT)
            weights = tl.where(seen, weights, 0.0)
        dv = tl.dot(weights.to(dout.dtype), dout, dv, input_precision=PRECISION, out_dtype=ACC)
        dweights = tl.dot(v, tl.trans(dout), input_precision=PRECISION, out_dtype=ACC)
        dscores = weights * (dweights - delta[None, :]) * slope
        dk = tl.dot(dscores.to(q.dtype), q, dk, input_precision=PRECISION, out_dtype=ACC)
    return dk, dv


@triton.jit(do_not_specialize=["n_documents", "total_q", "left", "right"])
def _dkv(
    q_ptr, k_ptr, v_ptr, dout_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr, cu_q_ptr, cu_k_ptr, n_documents, total_q,
    heads, d_qk, d_v, q_stride, q_head, k_stride, k_head, v_stride, v_head, dout_stride, dout_head, scale, softcap,
    left, right, GROUP: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, CAPPED: tl.constexpr,
    D_QK: tl.constexpr, D_V: tl.constexpr, EXACT: tl.constexpr, EXACT_V: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    kv_heads = heads // GROUP
    head, block = tl.program_id(0) % kv_heads, tl.program_id(0) // kv_heads
    document = _document(cu_k_ptr, n_documents, block, KEYS)
    first_k = tl.load(cu_k_ptr + document)
    n_keys = tl.load(cu_k_ptr + document + 1) - first_k
    start = (block - first_k // KEYS - document) * KEYS
    if start >= n_keys:
        return
    first_q = tl.load(cu_q_ptr + document)
    n_queries = tl.load(cu_q_ptr + document + 1) - first_q
    scale, softcap = tl.cast(scale, ACC), tl.cast(softcap, ACC)
    keys = start + tl.arange(0, KEYS)
    k_ptr += first_k.to(tl.int64) * k_stride + head * k_head
    v_ptr += first_k.to(tl.int64) * v_stride + head * v_head
    k = _load(k_ptr, keys, tl.arange(0, D_QK), k_stride, n_keys, d_qk, True, not EXACT)
    v = _load(v_ptr, keys, tl.arange(0, D_V), v_stride, n_keys, d_v, True, not EXACT_V)
    low, full_low, full_high, high = _query_stretches(start, n_queries, n_keys, left, right, LEFT, RIGHT, QUERIES, KEYS)
    state = (tl.zeros((KEYS, D_QK), ACC), tl.zeros((KEYS, D_V), ACC))
    for query_head in tl.range(head * GROUP, head * GROUP + GROUP):
        q_at = q_ptr + first_q.to(tl.int64) * q_stride + query_head * q_head
        dout_at = dout_ptr + first_q.to(tl.int64) * dout_stride + query_head * dout_head
        per_row = tl.cast(query_head, tl.int64) * total_q + first_q
        lse_at, delta_at = lse_ptr + per_row, delta_ptr + per_row
        if RIGHT:
            state = _add_to_dkv(
                state, k, v, q_at, dout_at, lse_at, delta_at, low, full_low, keys, n_queries, n_keys, q_stride,
                dout_stride, scale, softcap, left, right, d_qk, d_v, True, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT,
                EXACT_V, QUERIES, PRECISION, ACC,
            )  # fmt: skip
        state = _add_to_dkv(
            state, k, v, q_at, dout_at, lse_at, delta_at, full_low, full_high, keys, n_queries, n_keys, q_stride,
            dout_stride, scale, softcap, left, right, d_qk, d_v, False, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT,
            EXACT_V, QUERIES, PRECISION, ACC,
        )  # fmt: skip
        if LEFT:
            state = _add_to_dkv(
                state, k, v, q_at, dout_at, lse_at, delta_at, full_high, high, keys, n_queries, n_keys, q_stride,
                dout_stride, scale, softcap, left, right, d_qk, d_v, True, LEFT, RIGHT, CAPPED, D_QK, D_V, EXACT,
                EXACT_V, QUERIES, PRECISION, ACC,
            )  # fmt: skip
    dk, dv = state
    dk_ptr += (first_k.to(tl.int64) * kv_heads + head) * d_qk
    dv_ptr += (first_k.to(tl.int64) * kv_heads + head) * d_v
    _store(dk_ptr, dk * scale, keys, tl.arange(0, D_QK), kv_heads * d_qk, n_keys, d_qk)
    _store(dv_ptr, dv, keys, tl.arange(0, D_V), kv_heads * d_v, n_keys, d_v)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
    cu_q: Tensor,
    cu_k: Tensor,
    scale: float,
    softcap: float,
    left: int,
    right: int,
) -> tuple[Tensor, Tensor]:
    """As the reference's forward."""
    acc = accumulator(q.dtype)
    out = q.new_empty(*q.shape[:2], v.shape[2])
    lse = q.new_empty(q.shape[1], q.shape[0], dtype=acc)
    if q.shape[0] == 0:
        return out, lse
    q, k, v = _rows(q), _rows(k), _rows(v)
    how = _constants(q, k, v, softcap, left, right)
    shape = tiles(q.device, q.dtype, max(how["D_QK"], how["D_V"])).forward
    with torch.cuda.device_of(q):
        _forward[(_blocks(q.shape[0], cu_q, shape.queries) * q.shape[1],)](
            q, k, v, None if sinks is None else sinks.contiguous(), out, lse, cu_q, cu_k, cu_q.numel() - 1,
            q.shape[0], q.shape[1], q.shape[2], v.shape[2], *_strides(q, k, v), scale, softcap, left, right,
            **how, **_launch(shape),
        )  # fmt: skip
    return out, lse


def backward(
    dout: Tensor,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
    cu_q: Tensor,
    cu_k: Tensor,
    out: Tensor,
    lse: Tensor,
    scale: float,
    softcap: float,
    left: int,
    right: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As the reference's backward."""
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    if q.shape[0] == 0:
        return dq, dk.zero_(), dv.zero_(), _dsinks(sinks, lse, lse)
    q, k, v, dout = _rows(q), _rows(k), _rows(v), _rows(dout)
    how = _constants(q, k, v, softcap, left, right)
    kinds = tiles(q.device, q.dtype, max(how["D_QK"], how["D_V"]))
    delta = _deltas(dout, dlse, out, lse, how)
    strides = (*_strides(q, k, v, dout), scale, softcap, left, right)
    sizes = (cu_q, cu_k, cu_q.numel() - 1, q.shape[0], q.shape[1], q.shape[2], v.shape[2], *strides)
    with torch.cuda.device_of(q):
        _dq[(_blocks(q.shape[0], cu_q, kinds.dq.queries) * q.shape[1],)](
            q, k, v, dout, lse, delta, dq, *sizes, **how, **_launch(kinds.dq)
        )
        _dkv[(max(1, _blocks(k.shape[0], cu_k, kinds.dkv.keys)) * k.shape[1],)](
            q, k, v, dout, lse, delta, dk, dv, *sizes, **how, **_launch(kinds.dkv)
        )
    return dq, dk, dv, _dsinks(sinks, lse, delta)


def _deltas(dout: Tensor, dlse: Tensor | None, out: Tensor, lse: Tensor, how: dict[str, object]) -> Tensor:
    delta = torch.empty_like(lse)
    dlse = None if dlse is None else _rows(dlse)
    rows = 16 if dout.device.type == "cpu" else 32
    with torch.cuda.device_of(dout):
        _delta[(triton.cdiv(out.shape[0], rows) * out.shape[1],)](
            out.contiguous(), dout, dlse, delta, *out.shape, *dout.stride()[:2], 0 if dlse is None else dlse.stride(0),
            D_V=how["D_V"], EXACT_V=how["EXACT_V"], QUERIES=rows, ACC=how["ACC"], num_warps=4,
        )  # fmt: skip
    return delta


def _dsinks(sinks: Tensor | None, lse: Tensor, delta: Tensor) -> Tensor:
    """A sink's weight in each softmax, times what the gradient of its score is; it has no value."""
    if sinks is None:
        return lse.new_empty(0)
    return -(torch.exp(sinks.to(lse.dtype)[:, None] - lse) * delta).sum(1).to(sinks.dtype)


def _rows(tensor: Tensor) -> Tensor:
    """With the elements of the last dimension next to one another; a copy only where it must be."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _strides(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(stride for tensor in tensors for stride in tensor.stride()[:2])


def _blocks(tokens: int, cu_seqlens: Tensor, block: int) -> int:
    return tokens // block + cu_seqlens.numel() - 1


def _constants(q: Tensor, k: Tensor, v: Tensor, softcap: float, left: int, right: int) -> dict[str, object]:
    wide, wide_v = (max(16, triton.next_power_of_2(x.shape[2])) for x in (q, v))
    exact_products = q.dtype == torch.float64 or torch.backends.cuda.matmul.fp32_precision != "tf32"
    return {
        "GROUP": q.shape[1] // k.shape[1],
        "LEFT": left >= 0,
        "RIGHT": right >= 0,
        "CAPPED": softcap > 0,
        "D_QK": wide,
        "D_V": wide_v,
        "EXACT": wide == q.shape[2],
        "EXACT_V": wide_v == v.shape[2],
        "PRECISION": "ieee" if exact_products else "tf32",
        "ACC": tl.float64 if q.dtype == torch.float64 else tl.float32,
    }


def _launch(shape: Tile) -> dict[str, object]:
    return {
        "QUERIES": shape.queries,
        "KEYS": shape.keys,
        "num_warps": shape.warps,
        "num_stages": shape.stages,
        "enable_fp_fusion": True,  # triton 3.10 turns it off by default, which would change results
    }


def specialisations() -> list[Specialisation]:
    """Causal attention of bfloat16, heads grouped by four; of 64 elements on Hopper also with all that there is."""
    plain = {"GROUP": 4, "LEFT": False, "RIGHT": True, "CAPPED": False, "EXACT": True, "EXACT_V": True}
    plain |= {"PRECISION": "ieee", "ACC": tl.float32, "sinks_ptr": None}
    everything = {**plain, "LEFT": True, "CAPPED": True}
    del everything["sinks_ptr"]
    found: list[Specialisation] = []
    for width, constants, capabilities in (
        (64, plain, (80,)),
        (128, plain, (80,)),
        (256, plain, (80,)),
        (64, plain, (90,)),
        (128, plain, (90, 100)),
        (256, plain, (90,)),
        (64, everything, (90,)),
    ):
        suffix = f"{width}{'_everything' if constants is everything else ''}"
        for kernel, name in zip((_forward, _dq, _dkv), KERNELS, strict=True):
            shape = tile_of(f"{name}/bfloat16/{width}/{capabilities[0] / 10}")
            if shape is None:
                raise LookupError(f"tiles.json has no {name} for bfloat16, {width} and {capabilities[0] / 10}")
            found.append(_specialised(kernel, shape, suffix, width, constants, capabilities))
    return found


def _specialised(
    kernel, shape: Tile, suffix: str, width: int, constants: dict[str, object], capabilities: tuple[int, ...]
) -> Specialisation:
    pointers = ("q", "k", "v", "out", "dout", "dq", "dk", "dv", "sinks")
    types = {f"{name}_ptr": "*bf16" for name in pointers} | {"lse_ptr": "*fp32", "delta_ptr": "*fp32"}
    types |= {"cu_q_ptr": "*i32", "cu_k_ptr": "*i32", "scale": "fp32", "softcap": "fp32"}
    values = {**constants, "D_QK": width, "D_V": width, "QUERIES": shape.queries, "KEYS": shape.keys}
    name = f"varlen_attention{kernel.fn.__name__}_{suffix}"
    return Specialisation(name, kernel, types, values, shape.warps, shape.stages, capabilities)
