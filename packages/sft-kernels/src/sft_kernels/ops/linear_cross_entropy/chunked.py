"""The head in parts: logits of a chunk of tokens, their statistics, their gradient, and what follows from it.

Tokens without a target are left out first, so the work is that of the others. The logits of a chunk, in memory of our
own, are turned into their gradient, which two matrix products take to the gradients of the tokens and the weights:

    logits = x @ weight.T            [n, V]    one of the three products
    dx     = dlogits @ weight        [n, H]
    dweight += dlogits.T @ x         [V, H]    in float32, over chunks in order

What happens to a chunk of logits is three functions (`Rows`), in triton or in plain PyTorch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sft_kernels.launch import accumulator
from sft_kernels.ops.cross_entropy import check_targets
from sft_kernels.ops.cross_entropy.statistics import IGNORED, slopes, token_slopes
from sft_kernels.ops.linear_cross_entropy.settings import Operands, Settings, held

__all__ = ["Rows", "chunk_size", "implementation"]

BUDGET = {"cuda": 2**30, "cpu": 2**27}
"""Bytes of a chunk's logits. On a GPU few chunks: each reads and writes the sum of the weight's gradient again. On a
CPU the logits are passed over several times, and a product of 256 rows is as fast as one of many."""
FEWEST = {"cuda": 1024, "cpu": 128}
"""Tokens of a chunk, however large the vocabulary is."""
MIXED = torch.version.cuda is not None and "dtype_out" in torch.ops.aten.addmm.overloads()
"""Whether CUDA can multiply bfloat16 and add to float32."""


class Rows(NamedTuple):
    """What is done to the logits ``[n, V]`` of a chunk, which may be overwritten. Targets are coded.

    Attributes:
        statistics: from logits, target, settings; returns statistics ``[4, n]``, and what `gradient` needs.
        kept: from logits, statistics, settings; returns what `gradient` needs.
        gradient: from that, target, statistics, slopes, settings; returns the gradient of the logits in their dtype.
    """

    statistics: Callable[[Tensor, Tensor, Settings], tuple[Tensor, Any]]
    kept: Callable[[Tensor, Tensor, Settings], Any]
    gradient: Callable[[Any, Tensor, Tensor, Tensor, Settings], Tensor]


def implementation(rows: Rows) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The functions ``forward`` and ``backward`` of an implementation; their results are those of the reference."""
    return partial(_forward, rows), partial(_backward, rows)


def _forward(rows: Rows, *args: Any) -> tuple[Tensor, ...]:
    operands, (target, weights, needs, *settings) = Operands(*args[:5]), args[5:]
    how = Settings(*settings)
    check_targets("linear_cross_entropy", target, operands.weight.shape[0])
    work = _Work(operands, target, how)
    weights = weights if weights is None or work.index is None else weights[work.index]
    sums = _Sums(work, needs)
    statistics = operands.x.new_zeros(4, work.target.shape[0], dtype=accumulator(operands.x.dtype))
    for at, logits in work.chunks():
        statistics[:, at], kept = rows.statistics(logits, work.target[at], how)
        if any(needs):
            found, of = statistics[:, at], None if weights is None else weights[at]
            by = slopes(found, token_slopes(found, of, how.smoothing, how.z_loss, how.vocabulary))
            sums.add(at, rows.gradient(kept, work.target[at], found, by, how))
    found = work.spread(statistics.T).T.contiguous()
    if how.n_valid is not None:  # a wrong number must not leave tokens out in silence, and to look waits for a GPU
        found.masked_fill_((target != IGNORED).sum() != how.n_valid, float("nan"))
    return found, *sums.results()


def _backward(rows: Rows, *args: Any) -> tuple[Tensor, ...]:
    operands, (target, statistics, by, needs, *settings) = Operands(*args[:5]), args[5:]
    how = Settings(*settings)
    work = _Work(operands, target, how)
    if work.index is not None:
        statistics, by = statistics[:, work.index], by[:, work.index]
    sums = _Sums(work, needs)
    for at, logits in work.chunks():
        kept = rows.kept(logits, statistics[:, at], how)
        sums.add(at, rows.gradient(kept, work.target[at], statistics[:, at], by[:, at], how))
    return sums.results()


class _Work:
    """The tokens that have a target, in chunks."""

    def __init__(self, operands: Operands, target: Tensor, how: Settings) -> None:
        self.tokens = target.shape[0]
        self.index = _supervised(target, how.n_valid)
        x, low_x = operands.x, operands.low_x
        if self.index is not None:
            x, low_x, target = x[self.index], None if low_x is None else low_x[self.index], target[self.index]
        self.operands, self.target = operands._replace(x=x, low_x=low_x), target.contiguous()
        self.chunk = how.chunk_tokens or chunk_size(x.shape[0], operands.weight.shape[0], x)

    def chunks(self) -> Any:
        """Places of tokens and their logits, in memory that the next chunk takes over."""
        x, weight, low_x, low_weight, bias = self.operands
        n = x.shape[0]
        memory = x.new_empty(min(self.chunk, n), weight.shape[0])
        for start in range(0, n, self.chunk):
            at = slice(start, min(start + self.chunk, n))
            logits = memory[: at.stop - start]
            if bias is None:
                torch.mm(x[at], weight.T, out=logits)
            else:
                torch.addmm(bias, x[at], weight.T, out=logits)
            if low_x is not None and low_weight is not None:
                logits.addmm_(low_x[at], low_weight.T)
            yield at, logits

    def spread(self, rows: Tensor) -> Tensor:
        """Rows of the tokens that have a target, between zeros for the others."""
        if self.index is None:
            return rows
        return rows.new_zeros(self.tokens, *rows.shape[1:]).index_copy_(0, self.index, rows)


def _supervised(target: Tensor, n_valid: int | None) -> Tensor | None:
    """Places of the tokens that have a target; None for all. Waits for the device where their number is not given."""
    valid = target != IGNORED
    if n_valid is None:
        index = valid.nonzero()[:, 0]
    elif n_valid == target.shape[0]:
        return None
    else:
        index = torch.nonzero_static(valid, size=n_valid, fill_value=0)[:, 0]
    return None if index.shape[0] == target.shape[0] else index


def chunk_size(tokens: int, vocabulary: int, like: Tensor) -> int:
    """Tokens of a chunk: as many as the budget holds, and then chunks of equal size.

    At 128256 bfloat16 logits that is 4096 tokens on a GPU.
    """
    kind = like.device.type if like.device.type in BUDGET else "cpu"
    most = max(FEWEST[kind], BUDGET[kind] // (vocabulary * max(like.element_size(), 4 if kind == "cpu" else 2)))
    chunks = max(1, -(-tokens // most))
    return max(1, -(-tokens // chunks))


class _Sums:
    """The gradients of the operands, as chunks of the logits' gradient come in."""

    def __init__(self, work: _Work, needs: list[bool]) -> None:
        self.work = work
        x, low_x = work.operands.x, work.operands.low_x
        dx, self._dweight, dlow_x, self._dlow_weight, self._dbias = needs
        self.dx = torch.empty_like(x, memory_format=torch.contiguous_format) if dx else None
        self.dlow_x = (
            torch.empty_like(low_x, memory_format=torch.contiguous_format) if low_x is not None and dlow_x else None
        )
        self.dweight: Tensor | None = None
        self.dlow_weight: Tensor | None = None
        self.dbias: Tensor | None = None

    def add(self, at: slice, dlogits: Tensor) -> None:
        x, weight, low_x, low_weight, _ = self.work.operands
        if self.dx is not None:
            torch.mm(dlogits, weight, out=self.dx[at])
        if self.dlow_x is not None and low_weight is not None:
            torch.mm(dlogits, low_weight, out=self.dlow_x[at])
        if self._dweight:
            self.dweight = _plus_product(self.dweight, dlogits.T, x[at])
        if self._dlow_weight and low_x is not None:
            self.dlow_weight = _plus_product(self.dlow_weight, dlogits.T, low_x[at])
        if self._dbias:
            part = dlogits.sum(0, dtype=accumulator(dlogits.dtype))
            self.dbias = part if self.dbias is None else self.dbias.add_(part)

    def results(self) -> tuple[Tensor, ...]:
        """In the order of the operands; empty where a gradient is not needed."""
        _, weight, _, low_weight, bias = self.work.operands
        found = (
            None if self.dx is None else self.work.spread(self.dx),
            _finished(self.dweight, weight) if self._dweight else None,
            None if self.dlow_x is None else self.work.spread(self.dlow_x),
            _finished(self.dlow_weight, low_weight) if low_weight is not None and self._dlow_weight else None,
            _finished(self.dbias, bias) if bias is not None and self._dbias else None,
        )
        return tuple(weight.new_empty(0) if each is None else each for each in found)


def _plus_product(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """``total + left @ right``, in float32 for half formats; `total` is overwritten."""
    acc = accumulator(left.dtype)
    if left.dtype == acc:
        return torch.mm(left, right) if total is None else total.addmm_(left, right)
    if left.is_cuda and MIXED:
        if total is None:
            return torch.mm(left, right, out_dtype=acc)
        return torch.addmm(total, left, right, out_dtype=acc, out=total)
    product = torch.mm(left, right).to(acc)
    return product if total is None else total.add_(product)


def _finished(total: Tensor | None, of: Tensor) -> Tensor:
    """A sum in the dtype that it is handed on in; zeros of no chunks."""
    return torch.zeros_like(of, dtype=held(of)) if total is None else total.to(held(of))
