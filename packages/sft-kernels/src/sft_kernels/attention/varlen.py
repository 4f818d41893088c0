"""The function that users call: arguments and their checks, and which implementation runs."""

import math
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor

from sft_kernels.ops.varlen_attention import Boundaries, Call, attend
from sft_kernels.packing import validate_cu_seqlens
from sft_kernels.registration import autocast_inputs

__all__ = ["finite", "flash_attn_varlen_func", "require_tensors", "window_sides"]


# fmt: off
@overload
def flash_attn_varlen_func(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
    max_seqlen_q: int, max_seqlen_k: int, dropout_p: float = ..., softmax_scale: float | None = ...,
    causal: bool = ..., window_size: tuple[int, int] = ..., softcap: float = ...,
    alibi_slopes: Tensor | None = ..., deterministic: bool = ..., return_attn_probs: bool = ...,
    block_table: Tensor | None = ..., *, sinks: Tensor | None = ..., return_lse: Literal[False] = ...,
    backend: str | None = ...,
) -> Tensor: ...
@overload
def flash_attn_varlen_func(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
    max_seqlen_q: int, max_seqlen_k: int, dropout_p: float = ..., softmax_scale: float | None = ...,
    causal: bool = ..., window_size: tuple[int, int] = ..., softcap: float = ...,
    alibi_slopes: Tensor | None = ..., deterministic: bool = ..., return_attn_probs: bool = ...,
    block_table: Tensor | None = ..., *, sinks: Tensor | None = ..., return_lse: Literal[True],
    backend: str | None = ...,
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
    backend: str | None = None,
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
    inputs); kernels round probabilities to the dtype of `v` before they weigh it. Under autocast `q`, `k`
    and `v` are cast, as ``torch.nn.functional.linear`` casts its inputs.

    A query that may see no key gives a row of zeros with zero gradients. Its lse is +inf, as in
    flash-attn, so that ``exp(score - lse)`` is 0; with sinks it is the sink. Documents may have no
    tokens, no queries or no keys. No host sync on a GPU, unless what runs there is plain PyTorch; values of
    boundaries are checked on the CPU alone, where that is free. Differentiable once.

    Args:
        q: Floats [T_q, H, D].
        k: [T_k, K, D], where K divides H (K = H: multi-head, K = 1: multi-query). dtype and device as `q`.
        v: [T_k, K, Dv]; Dv may differ from D.
        cu_seqlens_q: int32 [N + 1], boundaries of the queries; see `sft_kernels.packing`.
        cu_seqlens_k: int32 [N + 1], boundaries of the keys; same N.
        max_seqlen_q: An upper bound of the queries of a document. Kernels of other libraries launch by it, so
            a lower value is refused where it can be seen.
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
        deterministic: Two calls must have the same bits. Triton, SDPA on the CPU and the reference always
            do; flash-attn is told.
        return_attn_probs: Only False.
        block_table: Only None.
        sinks: Floats [H], or None.
        return_lse: Return the log of the softmax denominators as well.
        backend: The implementation, one of those in docs/kernels.md; None chooses.

    Returns:
        [T_q, H, Dv] in the dtype of `q`; with `return_lse` a pair with the lse, [H, T_q], natural log,
        float32 (float64 for float64 inputs), differentiable.

    Raises:
        ValueError: An argument that is not supported, or one that breaks the contract above, or a backend
            that cannot run here.
    """
    _require_supported(dropout_p, alibi_slopes, return_attn_probs, block_table)
    require_tensors(q, k, v, sinks)
    _require_boundaries(cu_seqlens_q, cu_seqlens_k, q.device)
    if q.device.type == "cpu" and not torch.compiler.is_compiling():
        _require_values(cu_seqlens_q, q.shape[0], max_seqlen_q, "q")
        _require_values(cu_seqlens_k, k.shape[0], max_seqlen_k, "k")
    left, right = window_sides(window_size, causal)
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    where = Boundaries(cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    call = Call(where, scale, finite(softcap, "softcap"), left, right, return_lse, deterministic)
    q, k, v = cast("tuple[Tensor, Tensor, Tensor]", autocast_inputs(q, k, v))
    out, lse = attend(q, k, v, sinks, call, backend)
    return out if lse is None or not return_lse else (out, lse)


def window_sides(window_size: tuple[int, int], causal: bool) -> tuple[int, int]:
    """Keys to the left and right that a query sees, -1 for all.

    Raises:
        ValueError: a side below -1.
    """
    left, right = window_size
    if left < -1 or right < -1:
        raise ValueError(f"window_size is {window_size}; each side is a number of tokens, or -1 for no limit")
    return left, 0 if causal else right


def finite(value: float, name: str) -> float:
    """The value, refused with a ValueError where it is negative or not a number."""
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value}; pass a positive number, or 0.0 for none")
    return value


def _require_supported(dropout_p: float, alibi_slopes: Any, return_attn_probs: bool, block_table: Any) -> None:
    if dropout_p != 0.0:
        raise ValueError(
            f"dropout_p is {dropout_p}; there is no dropout, pass 0.0 (in a model's config: attention_dropout=0.0)"
        )
    if alibi_slopes is not None:
        raise ValueError(f"alibi_slopes is {type(alibi_slopes).__name__}; ALiBi is not supported, pass None")
    if return_attn_probs:
        raise ValueError("return_attn_probs is True; pass False, and return_lse=True for the lse")
    if block_table is not None:
        raise ValueError(f"block_table is {type(block_table).__name__}; there is no paged cache, pass None")


def require_tensors(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None) -> None:
    """Refuses, with a ValueError, shapes, dtypes or devices that do not go together."""
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


def _require_boundaries(cu_q: Tensor, cu_k: Tensor, device: torch.device) -> None:
    """What can be seen without a host sync."""
    for side, cu in (("q", cu_q), ("k", cu_k)):
        if cu.dtype != torch.int32 or cu.dim() != 1 or not cu.numel() or not cu.is_contiguous():
            raise ValueError(
                f"cu_seqlens_{side} is {cu.dtype} of shape {list(cu.shape)}; expected contiguous torch.int32 "
                "[documents + 1], such as cu_seqlens_from_lengths makes"
            )
        if cu.device != device:
            raise ValueError(f"cu_seqlens_{side} is on {cu.device}, q on {device}; move it there once per batch")
    if cu_q.shape != cu_k.shape:
        raise ValueError(
            f"cu_seqlens_q describes {cu_q.numel() - 1} documents and cu_seqlens_k "
            f"{cu_k.numel() - 1}; a document without keys needs a repeated entry, not a missing one"
        )


def _require_values(cu_seqlens: Tensor, total: int, longest: int, side: str) -> None:
    validate_cu_seqlens(cu_seqlens, total, name=f"cu_seqlens_{side}")
    found = max(cu_seqlens.diff().tolist(), default=0)
    if longest < found:
        raise ValueError(
            f"max_seqlen_{side} is {longest} but a document has {found} tokens; kernels would skip the "
            f"rest. Pass sft_kernels.max_seqlen(cu_seqlens_{side})"
        )
