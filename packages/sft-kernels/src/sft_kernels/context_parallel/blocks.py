"""A rank's blocks of scores, forward and backward; see `sft_kernels.context_parallel.ring`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from sft_kernels import dispatch
from sft_kernels.context_parallel.exchange import Swap
from sft_kernels.context_parallel.plan import Block, RingPlan, Step
from sft_kernels.launch import accumulator
from sft_kernels.ops.varlen_attention import OP, Boundaries, Call, attend
from sft_kernels.packing import cu_seqlens_from_lengths

__all__ = ["Queries", "Ring", "Scores", "backward_blocks", "forward_blocks", "weight"]

_TAKES_LSE = ("triton", "reference")
"""Implementations whose backward pass is a raw op of its own, which takes the lse as an argument."""


class Ring(NamedTuple):
    """What a rank needs besides tensors; one for each window, made once per batch."""

    plan: RingPlan
    group: dist.ProcessGroup
    boundaries: dict[Sequence[int], Boundaries]
    """By lengths of documents: of this rank's own tokens, and of the blocks; filled as they are used."""


class Scores(NamedTuple):
    """How scores are made, and by what."""

    scale: float
    softcap: float
    left: int
    right: int
    deterministic: bool
    backend: str | None


class Queries(NamedTuple):
    """A rank's own queries and what belongs to them in the backward pass."""

    q: Tensor
    dout: Tensor
    out: Tensor
    lse: Tensor

    def of(self, block: Block) -> "Queries":
        """Those of a block."""
        rows = block.queries
        return Queries(self.q[rows], self.dout[rows], self.out[rows], self.lse[:, rows].contiguous())


def forward_blocks(q: Tensor, k: Tensor, v: Tensor, ring: Ring, scores: Scores) -> tuple[Tensor, Tensor]:
    """``out [t, H, Dv]`` and ``lse [H, t]``, float32 or float64, without sinks."""
    coming = _begin(k, v, ring, 0)
    out, lse = _block(q, k, v, _diagonal(ring, q.device), scores, scores.left, scores.right)
    out = out.to(accumulator(q.dtype))
    for block in ring.plan.own:
        _merge(out, lse, block, _cut(q, k, v, block, ring, scores))
    for number, step in enumerate(ring.plan.steps):
        keys, values = _halves(coming.wait(), step.received, k, v)
        coming = _begin(k, v, ring, number + 1)
        for block in step.blocks:
            _merge(out, lse, block, _cut(q, keys, values, block, ring, scores))
    return out, lse


def backward_blocks(
    queries: Queries, k: Tensor, v: Tensor, ring: Ring, scores: Scores
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of this rank's q, k and v, float32 or float64."""
    acc = queries.lse.dtype
    where = _diagonal(ring, k.device)
    coming = _begin(k, v, ring, 0)
    found = _block_gradients(queries, k, v, where, scores, scores.left, scores.right)
    dq, dk, dv = (each.to(acc) for each in found)
    for block in ring.plan.own:
        _add_gradients(queries, (k, v), block, ring, scores, (dq, dk, dv))
    for number, step in enumerate(ring.plan.steps):
        keys, values = _halves(coming.wait(), step.received, k, v)
        coming = _begin(k, v, ring, number + 1)
        there = torch.zeros(keys.numel() + values.numel(), dtype=acc, device=k.device)
        halves = _halves(there, step.received, k, v)
        for block in step.blocks:
            _add_gradients(queries, (keys, values), block, ring, scores, (dq, *halves))
        _take_back(there, step, ring.group, dk, dv)
    return dq, dk, dv


def _begin(k: Tensor, v: Tensor, ring: Ring, number: int) -> Swap:
    """Keys and values of a step on their way, laid end to end."""
    if number == len(ring.plan.steps):
        return Swap(k.new_empty(0), 0, k.new_empty(0), 0, ring.group)
    step = ring.plan.steps[number]
    parts = [x[rows].flatten() for x in (k, v) for rows in step.send]
    room = k.new_empty(step.received * (k[:1].numel() + v[:1].numel()) if step.received else 0)
    return Swap(torch.cat(parts) if parts else k.new_empty(0), step.to, room, step.source, ring.group)


def _halves(flat: Tensor, rows: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys ``[rows, K, D]`` and values ``[rows, K, Dv]`` of what `_begin` has sent: views."""
    border = rows * k.shape[1] * k.shape[2]
    return flat[:border].view(rows, *k.shape[1:]), flat[border:].view(rows, *v.shape[1:])


def _take_back(there: Tensor, step: Step, group: dist.ProcessGroup, dk: Tensor, dv: Tensor) -> None:
    """Sends gradients of a step's keys to their rank, and adds those of this rank's own that come back."""
    sent = sum(rows.stop - rows.start for rows in step.send)
    room = there.new_empty(sent * (dk[:1].numel() + dv[:1].numel()) if sent else 0)
    halves = _halves(Swap(there, step.source, room, step.to, group).wait(), sent, dk, dv)
    for whole, part in zip((dk, dv), halves, strict=True):
        before = 0
        for rows in step.send:
            after = before + rows.stop - rows.start
            whole[rows] += part[before:after]
            before = after


def _cut(q: Tensor, k: Tensor, v: Tensor, block: Block, ring: Ring, scores: Scores) -> tuple[Tensor, Tensor]:
    where = _one_document(ring, block, q.device)
    return _block(q[block.queries], k[block.keys], v[block.keys], where, scores, block.seen_left, block.seen_right)


def _block(  # noqa: PLR0913
    q: Tensor, k: Tensor, v: Tensor, where: Boundaries, scores: Scores, left: int, right: int
) -> tuple[Tensor, Tensor]:
    """Output and lse of one block, by whatever implementation is chosen."""
    call = Call(where, scores.scale, scores.softcap, left, right, True, scores.deterministic)
    out, lse = attend(q, k, v, None, call, scores.backend)
    assert lse is not None, "an implementation that gives no lse has a reason not to run here"
    return out, lse


def _merge(out: Tensor, lse: Tensor, block: Block, found: tuple[Tensor, Tensor]) -> None:
    """Adds a block to the rows of its queries, in place."""
    rows = block.queries
    before, added = lse[:, rows], found[1]
    whole = torch.logaddexp(before, added)
    out[rows] = out[rows] * weight(before, whole) + found[0].to(out.dtype) * weight(added, whole)
    lse[:, rows] = whole


def weight(part: Tensor, whole: Tensor) -> Tensor:
    """The part that some keys have in the softmax, from lse ``[H, t]`` as ``[t, H, 1]``."""
    return torch.exp(part - whole).T[..., None]


def _add_gradients(
    queries: Queries,
    keys: tuple[Tensor, Tensor],
    block: Block,
    ring: Ring,
    scores: Scores,
    into: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Adds a block's gradients of q, k and v to its rows of `into`, in place."""
    k, v = (each[block.keys] for each in keys)
    where = _one_document(ring, block, k.device)
    found = _block_gradients(queries.of(block), k, v, where, scores, block.seen_left, block.seen_right)
    for whole, rows, part in zip(into, (block.queries, block.keys, block.keys), found, strict=True):
        whole[rows] += part


def _block_gradients(  # noqa: PLR0913
    queries: Queries, k: Tensor, v: Tensor, where: Boundaries, scores: Scores, left: int, right: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v of one block, where `out` and `lse` are those of all blocks."""
    call = Call(where, scores.scale, scores.softcap, left, right, True, scores.deterministic)
    q, dout, out, lse = queries
    backend = dispatch.choose(OP, scores.backend, q, k, v, None, call)
    if backend not in _TAKES_LSE:
        able = dispatch.implementations(OP, q, k, v, None, call)
        backend = next(name for name in _TAKES_LSE if able[name] is None)
    raw = torch.ops.sft_kernels.varlen_attention_backward
    return raw(dout, None, q, k, v, None, where.cu_q, where.cu_k, out, lse, *scores[:2], left, right, backend)[:3]


def _diagonal(ring: Ring, device: torch.device) -> Boundaries:
    return _boundaries(ring, ring.plan.segments, ring.plan.segments, device)


def _one_document(ring: Ring, block: Block, device: torch.device) -> Boundaries:
    queries, keys = (rows.stop - rows.start for rows in block[:2])
    return _boundaries(ring, (queries,), (keys,), device)


def _boundaries(ring: Ring, queries: Sequence[int], keys: Sequence[int], device: torch.device) -> Boundaries:
    """Made once and kept: all layers have the same, and on a GPU each would be a copy from the host."""
    name = (*queries, -1, *keys)
    if name not in ring.boundaries:
        cu = [cu_seqlens_from_lengths(lengths, device=device) for lengths in (queries, keys)]
        ring.boundaries[name] = Boundaries(cu[0], cu[1], max(queries, default=0), max(keys, default=0))
    return ring.boundaries[name]
