# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
"""Statistics of logits and the gradient in triton. The rules for kernels: docs/kernels.md.

The forward pass has a program for each row, which walks over the vocabulary once and keeps a running maximum and the
sums relative to it (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867). The
backward pass is elementwise, with a program for each tile of a row, so it may write over what it reads. Together they
read a logit twice and write its gradient once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sft_kernels.launch import Specialisation, accumulator, as_rows
from sft_kernels.ops.cross_entropy import check_targets
from sft_kernels.ops.cross_entropy.statistics import ELSEWHERE, IGNORED

__all__ = ["backward", "forward", "gradient_into", "specialisations"]

LARGEST = 8192  # logits that a program of the forward pass holds at once
TILE = 4096  # and of the backward pass


@triton.jit
def _capped(x, scale, softcap, CAPPED: tl.constexpr, ACC: tl.constexpr):
    """z; the hyperbolic tangent by an exponential, and by its continued fraction where that would cancel."""
    z = x * tl.cast(scale, ACC)
    if CAPPED:
        cap = tl.cast(softcap, ACC)
        ratio = z / cap
        square = ratio * ratio
        above = ratio * (135135 + square * (17325 + square * (378 + square)))
        below = 135135 + square * (62370 + square * (3150 + square * 28))
        z = cap * tl.where(square < 0.36, above / below, 1 - 2 / (tl.exp(2 * ratio) + 1))
    return z


@triton.jit(do_not_specialize=["n_rows"])
def _forward(
    logits_ptr,
    target_ptr,
    statistics_ptr,
    n_rows,
    n_columns,
    stride,
    scale,
    softcap,
    CAPPED: tl.constexpr,
    TOTAL: tl.constexpr,
    ENTROPY: tl.constexpr,
    ACC: tl.constexpr,
    COLUMNS: tl.constexpr,
    IGNORE: tl.constexpr,
    ABSENT: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    out = statistics_ptr + row
    if target == IGNORE:
        zero = tl.cast(0.0, ACC)
        tl.store(out, zero)
        tl.store(out + n_rows, zero)
        tl.store(out + 2 * n_rows, zero)
        tl.store(out + 3 * n_rows, zero)
        return
    top = tl.cast(float("-inf"), ACC)
    weight = tl.cast(0.0, ACC)
    moment = tl.cast(0.0, ACC)
    total = tl.cast(0.0, ACC)
    for start in range(0, n_columns, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        inside = columns < n_columns
        x = tl.load(logits_ptr + row * stride + columns, mask=inside, other=0.0).to(ACC)
        z = _capped(x, scale, softcap, CAPPED, ACC)
        before = top
        top = tl.maximum(before, tl.max(tl.where(inside, z, float("-inf")), 0))
        share = tl.where(inside, tl.exp(z - top), 0.0)
        shrink = tl.exp(before - top)
        if ENTROPY:
            step = tl.where(start == 0, 0.0, before - top)
            moment = shrink * (moment + weight * step) + tl.sum(tl.where(inside, share * (z - top), 0.0), 0)
        weight = weight * shrink + tl.sum(share, 0)
        if TOTAL:
            total += tl.sum(tl.where(inside, z, 0.0), 0)
    log_sum = tl.log(weight)
    here = (target >= 0) & (target < n_columns)
    chosen = tl.load(logits_ptr + row * stride + target, mask=here, other=float("nan")).to(ACC)
    logprob = _capped(chosen, scale, softcap, CAPPED, ACC) - top - log_sum
    if target == ABSENT:
        logprob = -(top + log_sum)
    tl.store(out, logprob)
    tl.store(out + n_rows, top + log_sum)
    tl.store(out + 2 * n_rows, total)
    tl.store(out + 3 * n_rows, log_sum - moment / weight if ENTROPY else moment)


@triton.jit(do_not_specialize=["n_rows"])
def _backward(
    logits_ptr,
    target_ptr,
    statistics_ptr,
    slopes_ptr,
    grad_ptr,
    n_rows,
    n_columns,
    stride,
    grad_stride,
    scale,
    softcap,
    CAPPED: tl.constexpr,
    ACC: tl.constexpr,
    COLUMNS: tl.constexpr,
    IGNORE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < n_columns
    target = tl.load(target_ptr + row)
    out = grad_ptr + row * grad_stride + columns
    if target == IGNORE:
        tl.store(out, tl.zeros((COLUMNS,), ACC).to(grad_ptr.dtype.element_ty), mask=inside)
        return
    lse = tl.load(statistics_ptr + n_rows + row)
    slope = slopes_ptr + row
    on_p, on_plogp = tl.load(slope), tl.load(slope + n_rows)
    on_all, on_target = tl.load(slope + 2 * n_rows), tl.load(slope + 3 * n_rows)
    x = tl.load(logits_ptr + row * stride + columns, mask=inside, other=0.0).to(ACC)
    z = _capped(x, scale, softcap, CAPPED, ACC)
    logp = z - lse
    dz = tl.exp(logp) * (on_p + on_plogp * logp) + on_all + tl.where(columns == target, on_target, 0.0)
    if CAPPED:
        ratio = z / tl.cast(softcap, ACC)
        dz = dz * (1 - ratio * ratio)
    tl.store(out, (dz * tl.cast(scale, ACC)).to(grad_ptr.dtype.element_ty), mask=inside)


def forward(logits: Tensor, target: Tensor, scale: float, softcap: float, total: bool, entropy: bool) -> Tensor:
    """As the reference's forward."""
    check_targets("cross_entropy", target, logits.shape[1])
    statistics = logits.new_empty(4, logits.shape[0], dtype=accumulator(logits.dtype))
    logits = as_rows(logits)
    n_rows, n_columns = logits.shape
    with torch.cuda.device_of(logits):
        if n_rows:
            _forward[(n_rows,)](
                logits,
                target.contiguous(),
                statistics,
                n_rows,
                n_columns,
                logits.stride(0),
                scale,
                softcap,
                TOTAL=total,
                ENTROPY=entropy,
                IGNORE=IGNORED,
                ABSENT=ELSEWHERE,
                **_constants(statistics.dtype, softcap, n_columns, LARGEST),
            )
    return statistics


def backward(
    logits: Tensor, target: Tensor, statistics: Tensor, slopes: Tensor, scale: float, softcap: float
) -> Tensor:
    """As the reference's backward."""
    grad = torch.empty_like(logits, memory_format=torch.contiguous_format)
    gradient_into(grad, as_rows(logits), target.contiguous(), statistics, slopes.contiguous(), (scale, softcap))
    return grad


def gradient_into(
    grad: Tensor, logits: Tensor, target: Tensor, statistics: Tensor, slopes: Tensor, how: tuple[float, float]
) -> None:
    """The gradient of logits ``[N, V]``, into a tensor of the same shape, which may be the logits themselves.

    Args:
        grad: with the elements of a row next to one another.
        logits: likewise.
        target: contiguous, as are statistics and slopes.
        statistics: ``[4, N]``.
        slopes: ``[4, N]``.
        how: scale and softcap.
    """
    n_rows, n_columns = logits.shape
    constants = _constants(statistics.dtype, how[1], n_columns, TILE)
    with torch.cuda.device_of(logits):
        if n_rows:
            _backward[(n_rows, triton.cdiv(n_columns, constants["COLUMNS"]))](
                logits,
                target,
                statistics,
                slopes,
                grad,
                n_rows,
                n_columns,
                logits.stride(0),
                grad.stride(0),
                *how,
                IGNORE=IGNORED,
                **constants,
            )


def _constants(acc: torch.dtype, softcap: float, columns: int, most: int) -> dict[str, object]:
    width = max(16, min(most, triton.next_power_of_2(columns)))
    return {
        "CAPPED": softcap != 0,
        "ACC": tl.float64 if acc == torch.float64 else tl.float32,
        "COLUMNS": width,
        "num_warps": max(1, min(8, width // 512)),
        "enable_fp_fusion": True,  # triton 3.10 turns it off by default, which would change results
    }


def specialisations() -> list[Specialisation]:
    """bfloat16 logits of a large vocabulary, plain and with all that can be asked for."""
    types = {"logits_ptr": "*bf16", "grad_ptr": "*bf16", "target_ptr": "*i64", "scale": "fp32", "softcap": "fp32"}
    types |= {"statistics_ptr": "*fp32", "slopes_ptr": "*fp32"}
    found: list[Specialisation] = []
    for name, everything in (("plain", False), ("all", True)):
        flags = {"TOTAL": everything, "ENTROPY": everything, "IGNORE": IGNORED, "ABSENT": ELSEWHERE}
        for kernel, most in ((_forward, LARGEST), (_backward, TILE)):
            constants = _constants(torch.float32, 30.0 if everything else 0.0, 128256, most) | flags
            warps = constants.pop("num_warps")
            form = f"cross_entropy{kernel.fn.__name__}_{name}"
            found.append(Specialisation(form, kernel, types, constants, warps))
    return found
