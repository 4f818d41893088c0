"""Varlen attention in plain PyTorch: the meaning that every other implementation has to match.

One document at a time, its scores written out in full, in float32 or float64. Host sync: boundaries are read on the
host. The backward pass is written out. With ``p = exp(scores - lse)``, ``x = q.k * scale`` and, for each query,
``delta = sum(out * dout) - dlse``::

    dv = sum over queries of p * dout
    dx = p * (dout.v - delta) * (1 - tanh(x / softcap)**2)
    dsinks = - sum over queries of exp(sink - lse) * delta
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sft_kernels.launch import accumulator

__all__ = ["Scoring", "attend_document", "backward", "forward", "seen"]


class Scoring(NamedTuple):
    """How scores are made of queries and keys; the same for all documents of a call."""

    scale: float
    softcap: float
    left: int
    right: int


def forward(  # noqa: PLR0913  (a raw op takes no tuples)
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
    """``out [T_q, H, Dv]`` in the dtype of `q`, and ``lse [H, T_q]``, float32 or float64."""
    acc = accumulator(q.dtype)
    out = q.new_zeros(*q.shape[:2], v.shape[2])
    lse = q.new_zeros(q.shape[1], q.shape[0], dtype=acc)
    scoring = Scoring(scale, softcap, left, right)
    extra = None if sinks is None else sinks.to(acc)
    for queries, keys in _documents(cu_q, cu_k):
        result = attend_document(q[queries].to(acc), k[keys].to(acc), v[keys].to(acc), extra, scoring)
        out[queries], lse[:, queries] = result[0].to(q.dtype), result[1]
    return out, lse


def backward(  # noqa: PLR0913
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
    """Gradients of `q`, `k`, `v` and `sinks`, of which the last is empty without sinks."""
    acc = lse.dtype
    dq, dk, dv = (torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    delta = torch.einsum("qhd,qhd->hq", dout.to(acc), out.to(acc))
    if dlse is not None:
        delta = delta - dlse.to(acc)
    scoring = Scoring(scale, softcap, left, right)
    for queries, keys in _documents(cu_q, cu_k):
        inputs = q[queries].to(acc), k[keys].to(acc), v[keys].to(acc), dout[queries].to(acc)
        gradients = _document_gradients(*inputs, lse[:, queries], delta[:, queries], scoring)
        for whole, where, part in zip((dq, dk, dv), (queries, keys, keys), gradients, strict=True):
            whole[where] = part.to(whole.dtype)
    if sinks is None:
        return dq, dk, dv, lse.new_empty(0)
    dsinks = -(torch.exp(sinks.to(acc)[:, None] - lse) * delta).sum(1)
    return dq, dk, dv, dsinks.to(sinks.dtype)


def attend_document(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, scoring: Scoring) -> tuple[Tensor, Tensor]:
    """One document, ``q [Lq, H, D]``, ``k [Lk, K, D]``, ``v [Lk, K, Dv]``: ``out [Lq, H, Dv]`` and ``lse [H, Lq]``.

    Autograd can differentiate it, any number of times.
    """
    n_queries, heads, _ = q.shape
    n_keys, kv_heads, _ = k.shape
    scores, _ = _scores(q, k, scoring)
    visible = seen(n_queries, n_keys, scoring, q.device)
    scores = scores.masked_fill(~visible, float("-inf"))
    # One extra column, a logit without a value, holds the sink. Without sinks it is -inf and changes nothing, except
    # in rows that see no key: there 0 keeps the softmax finite, and all its weight goes to the column, so out is 0.
    blind = ~visible.any(dim=-1)
    if sinks is None:
        extra = q.new_full((n_queries,), float("-inf")).masked_fill(blind, 0.0).expand(heads, -1)
    else:
        extra = sinks[:, None].expand(-1, n_queries)
    logits = torch.cat([scores, extra[..., None]], dim=-1)
    weights = logits.softmax(dim=-1)[..., :n_keys].unflatten(0, (kv_heads, heads // kv_heads))
    out = torch.einsum("kgqs,skd->qkgd", weights, v).flatten(1, 2)
    lse = logits.logsumexp(dim=-1)
    return out, lse if sinks is not None else lse.masked_fill(blind, float("inf"))


def _document_gradients(  # noqa: PLR0913
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, lse: Tensor, delta: Tensor, scoring: Scoring
) -> tuple[Tensor, Tensor, Tensor]:
    groups = k.shape[1], q.shape[1] // k.shape[1]
    scores, slope = _scores(q, k, scoring)
    weights = torch.exp(scores - lse[..., None])
    weights = weights.masked_fill(~seen(q.shape[0], k.shape[0], scoring, q.device), 0.0)
    grouped = dout.unflatten(1, groups)
    dv = torch.einsum("kgqs,qkgd->skd", weights.unflatten(0, groups), grouped)
    dweights = torch.einsum("qkgd,skd->kgqs", grouped, v).flatten(0, 1)
    dscores = weights * (dweights - delta[..., None]) * slope * scoring.scale
    dscores = dscores.unflatten(0, groups)
    dq = torch.einsum("kgqs,skd->qkgd", dscores, k).flatten(1, 2)
    return dq, torch.einsum("kgqs,qkgd->skd", dscores, q.unflatten(1, groups)), dv


def _scores(q: Tensor, k: Tensor, scoring: Scoring) -> tuple[Tensor, Tensor | float]:
    """Scores ``[H, Lq, Lk]``, and the slope of the softcap at them."""
    grouped = q.unflatten(1, (k.shape[1], q.shape[1] // k.shape[1]))
    scores = torch.einsum("qkgd,skd->kgqs", grouped, k).flatten(0, 1) * scoring.scale
    if not scoring.softcap:
        return scores, 1.0
    bent = torch.tanh(scores / scoring.softcap)
    return scoring.softcap * bent, 1 - bent.square()


def seen(n_queries: int, n_keys: int, scoring: Scoring, device: torch.device) -> Tensor:
    """True in ``[Lq, Lk]`` where the window lets a query see a key."""
    own = torch.arange(n_queries, device=device)[:, None] + (n_keys - n_queries)
    key = torch.arange(n_keys, device=device)[None, :]
    visible = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device)
    if scoring.left >= 0:
        visible &= key >= own - scoring.left
    if scoring.right >= 0:
        visible &= key <= own + scoring.right
    return visible


def _documents(cu_q: Tensor, cu_k: Tensor) -> list[tuple[slice, slice]]:
    """Rows of the queries and of the keys of each document."""
    ends_q, ends_k = cu_q.tolist(), cu_k.tolist()
    return [(slice(ends_q[d], ends_q[d + 1]), slice(ends_k[d], ends_k[d + 1])) for d in range(len(ends_q) - 1)]
