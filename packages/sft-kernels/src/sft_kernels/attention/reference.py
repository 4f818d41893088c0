"""Varlen attention in plain PyTorch: the meaning that every faster implementation has to match.

One document at a time, scores written out in full, so it runs on any device and in float64, and autograd
differentiates it. It costs memory quadratic in the longest document, and a host sync for the boundaries.
"""

import math
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from sft_kernels.packing import validate_cu_seqlens

__all__ = ["flash_attn_varlen_func"]

_NEGATIVE_INFINITY = float("-inf")


class _Scoring(NamedTuple):
    """How scores are made of queries and keys; the same for all documents of a call."""

    scale: float
    softcap: float
    left: int  # keys to the left of a query's own position that it may see, -1 for all
    right: int
    sinks: Tensor | None


# fmt: off
@overload
def flash_attn_varlen_func(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
    max_seqlen_q: int, max_seqlen_k: int, dropout_p: float = ..., softmax_scale: float | None = ...,
    causal: bool = ..., window_size: tuple[int, int] = ..., softcap: float = ...,
    alibi_slopes: Tensor | None = ..., deterministic: bool = ..., return_attn_probs: bool = ...,
    block_table: Tensor | None = ..., *, sinks: Tensor | None = ..., return_lse: Literal[False] = ...,
) -> Tensor: ...
@overload
def flash_attn_varlen_func(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
    max_seqlen_q: int, max_seqlen_k: int, dropout_p: float = ..., softmax_scale: float | None = ...,
    causal: bool = ..., window_size: tuple[int, int] = ..., softcap: float = ...,
    alibi_slopes: Tensor | None = ..., deterministic: bool = ..., return_attn_probs: bool = ...,
    block_table: Tensor | None = ..., *, sinks: Tensor | None = ..., return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...
# fmt: on
def flash_attn_varlen_func(  # noqa: PLR0913  (the signature is flash-attn's)
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Tensor | None = None,
    *,
    sinks: Tensor | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention within each document of a packed batch; names and positional order are flash-attn 2's.

    Query i of a document of Lq queries and Lk keys stands at key position ``i + Lk - Lq`` (aligned at the
    bottom right: the last query sees the last key). Lq = 2, Lk = 4, causal, and then with
    ``window_size=(1, 0)``::

              key 0  1  2  3                key 0  1  2  3
        query 0   x  x  x  .          query 0   .  x  x  .
              1   x  x  x  x                1   .  .  x  x

    Scores are ``softcap * tanh(q.k * scale / softcap)`` with a softcap, ``q.k * scale`` without. A head's
    sink is one more logit in the softmax that has no value: it takes weight away and adds nothing. Query
    head h reads key/value head ``h // (H / K)``. Softmax and sums run in float32 (float64 for float64
    inputs), probabilities are not rounded.

    A query that may see no key gives a row of zeros with zero gradients. Its lse is +inf, as in
    flash-attn, so that ``exp(score - lse)`` is 0; with sinks it is the sink. Documents may have no
    tokens, no queries or no keys. Host sync: boundaries are read on the host.

    Args:
        q: Floats [T_q, H, D].
        k: [T_k, K, D], where K divides H (K = H: multi-head, K = 1: multi-query). dtype and device as `q`.
        v: [T_k, K, Dv]; Dv may differ from D.
        cu_seqlens_q: int32 [N + 1], boundaries of the queries; see `sft_kernels.packing`.
        cu_seqlens_k: int32 [N + 1], boundaries of the keys; same N.
        max_seqlen_q: An upper bound of the queries of a document. Kernels launch by it, so a lower value
            is refused.
        max_seqlen_k: An upper bound of the keys of a document.
        dropout_p: Only 0.0.
        softmax_scale: Factor on q.k; ``D ** -0.5`` if None.
        causal: A query sees no key to the right of its own position. Overrides the right side of
            `window_size`.
        window_size: Keys to the left and right of its own position that a query sees, both ends
            inclusive; -1 for all. A model's ``sliding_window`` of W tokens counts the query's own, so it
            is ``(W - 1, 0)``.
        softcap: 0.0 for none.
        alibi_slopes: Only None.
        deterministic: Accepted; this implementation always is.
        return_attn_probs: Only False.
        block_table: Only None.
        sinks: Floats [H], or None.
        return_lse: Return the log of the softmax denominators as well.

    Returns:
        [T_q, H, Dv] in the dtype of `q`; with `return_lse` a pair with the lse, [H, T_q], natural log,
        float32 (float64 for float64 inputs), differentiable.

    Raises:
        ValueError: An argument that this implementation does not support, or one that breaks the contract
            above.
    """
    _require_supported(dropout_p, alibi_slopes, return_attn_probs, block_table)
    _require_tensors(q, k, v, sinks)
    boundaries_q = _boundaries(cu_seqlens_q, q.shape[0], max_seqlen_q, "q")
    boundaries_k = _boundaries(cu_seqlens_k, k.shape[0], max_seqlen_k, "k")
    if len(boundaries_q) != len(boundaries_k):
        raise ValueError(
            f"cu_seqlens_q describes {len(boundaries_q) - 1} documents and cu_seqlens_k "
            f"{len(boundaries_k) - 1}; a document without keys needs a repeated entry, not a missing one"
        )
    left, right = _window(window_size, causal)
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    scoring = _Scoring(scale, _finite(softcap, "softcap"), left, right, sinks)
    out, lse = _attend_all(q, k, v, (boundaries_q, boundaries_k), scoring)
    return (out, lse) if return_lse else out


def _attend_all(
    q: Tensor, k: Tensor, v: Tensor, boundaries: tuple[list[int], list[int]], scoring: _Scoring
) -> tuple[Tensor, Tensor]:
    work = torch.float64 if q.dtype == torch.float64 else torch.float32
    q_, k_, v_ = q.to(work), k.to(work), v.to(work)
    cu_q, cu_k = boundaries
    # The empty first piece makes a batch of no documents a result of no rows, without a case of its own.
    outs = [q_.new_empty(0, q.shape[1], v.shape[2])]
    lses = [q_.new_empty(q.shape[1], 0)]
    for d in range(len(cu_q) - 1):
        queries, keys = slice(cu_q[d], cu_q[d + 1]), slice(cu_k[d], cu_k[d + 1])
        out, lse = _attend(q_[queries], k_[keys], v_[keys], scoring)
        outs.append(out)
        lses.append(lse)
    return torch.cat(outs).to(q.dtype), torch.cat(lses, dim=1)


def _attend(q: Tensor, k: Tensor, v: Tensor, scoring: _Scoring) -> tuple[Tensor, Tensor]:
    """One document: q [Lq, H, D], k [Lk, K, D], v [Lk, K, Dv] to out [Lq, H, Dv] and lse [H, Lq]."""
    n_queries, heads, _ = q.shape
    n_keys, kv_heads, _ = k.shape
    grouped = q.unflatten(1, (kv_heads, heads // kv_heads))
    scores = torch.einsum("qkgd,skd->kgqs", grouped, k).flatten(0, 1) * scoring.scale
    if scoring.softcap:
        scores = scoring.softcap * torch.tanh(scores / scoring.softcap)
    visible = _visible(n_queries, n_keys, scoring, q.device)
    scores = scores.masked_fill(~visible, _NEGATIVE_INFINITY)
    # One extra column, a logit without a value, holds the sink. Without sinks it is -inf and changes
    # nothing, except in rows that see no key: there 0 keeps the softmax finite, and all its weight goes
    # to the column, so out is 0.
    blind = ~visible.any(dim=-1)
    if scoring.sinks is None:
        extra = q.new_full((n_queries,), _NEGATIVE_INFINITY).masked_fill(blind, 0.0).expand(heads, -1)
    else:
        extra = scoring.sinks.to(q.dtype)[:, None].expand(-1, n_queries)
    logits = torch.cat([scores, extra[..., None]], dim=-1)
    weights = logits.softmax(dim=-1)[..., :n_keys].unflatten(0, (kv_heads, -1))
    out = torch.einsum("kgqs,skd->qkgd", weights, v).flatten(1, 2)
    lse = logits.logsumexp(dim=-1)
    return out, lse if scoring.sinks is not None else lse.masked_fill(blind, float("inf"))


def _visible(n_queries: int, n_keys: int, scoring: _Scoring, device: torch.device) -> Tensor:
    """True in [Lq, Lk] where the window lets a query see a key."""
    own = torch.arange(n_queries, device=device)[:, None] + (n_keys - n_queries)
    key = torch.arange(n_keys, device=device)[None, :]
    visible = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device)
    if scoring.left >= 0:
        visible &= key >= own - scoring.left
    if scoring.right >= 0:
        visible &= key <= own + scoring.right
    return visible


def _window(window_size: tuple[int, int], causal: bool) -> tuple[int, int]:
    left, right = window_size
    if left < -1 or right < -1:
        raise ValueError(f"window_size is {window_size}; each side is a number of tokens, or -1 for no limit")
    return left, 0 if causal else right


def _finite(value: float, name: str) -> float:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value}; pass a positive number, or 0.0 for none")
    return value


def _require_supported(dropout_p: float, alibi_slopes: Any, return_attn_probs: bool, block_table: Any) -> None:
    if dropout_p != 0.0:
        raise ValueError(
            f"dropout_p is {dropout_p}; the reference attention has no dropout, pass 0.0 "
            "(in a model's config: attention_dropout=0.0)"
        )
    if alibi_slopes is not None:
        raise ValueError(f"alibi_slopes is {type(alibi_slopes).__name__}; ALiBi is not supported, pass None")
    if return_attn_probs:
        raise ValueError("return_attn_probs is True; pass False, and return_lse=True for the lse")
    if block_table is not None:
        raise ValueError(f"block_table is {type(block_table).__name__}; there is no paged cache, pass None")


def _require_tensors(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None) -> None:
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dim() != 3:
            raise ValueError(
                f"{name} has shape {list(tensor.shape)}, expected [tokens, heads, head_dim]; "
                "flatten batch and sequence with .flatten(0, 1)"
            )
        if not tensor.is_floating_point() or tensor.dtype != q.dtype or tensor.device != q.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, q is {q.dtype} on {q.device}; "
                "q, k and v share one floating dtype and one device"
            )
    if k.shape[:2] != v.shape[:2] or k.shape[2] != q.shape[2]:
        raise ValueError(
            f"q, k, v have shapes {list(q.shape)}, {list(k.shape)}, {list(v.shape)}; "
            "k and v share tokens and heads, q and k share head_dim"
        )
    heads, kv_heads = q.shape[1], k.shape[1]
    if kv_heads == 0 or heads % kv_heads:
        raise ValueError(f"q has {heads} heads and k has {kv_heads}; query heads are a multiple of key heads")
    if sinks is not None and (sinks.shape != (heads,) or not sinks.is_floating_point()):
        raise ValueError(
            f"sinks is {sinks.dtype} of shape {list(sinks.shape)}; expected floats of shape [{heads}], "
            "one per query head"
        )


def _boundaries(cu_seqlens: Tensor, total: int, max_seqlen: int, side: str) -> list[int]:
    on_host = cu_seqlens.cpu()
    validate_cu_seqlens(on_host, total, name=f"cu_seqlens_{side}")
    longest = max(on_host.diff().tolist(), default=0)
    if max_seqlen < longest:
        raise ValueError(
            f"max_seqlen_{side} is {max_seqlen} but a document has {longest} tokens; kernels would skip the "
            f"rest. Pass sft_kernels.max_seqlen(cu_seqlens_{side})"
        )
    return on_host.tolist()
