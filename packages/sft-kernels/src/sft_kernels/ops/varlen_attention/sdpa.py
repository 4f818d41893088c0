"""torch's scaled_dot_product_attention, one document at a time: what runs on the CPU.

It has kernels for the CPU that keep no scores, so time and memory grow with the documents' own squares and not with
the row's. Host sync: boundaries are read on the host. torch differentiates it.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sft_kernels.launch import accumulator
from sft_kernels.ops.varlen_attention import reference
from sft_kernels.ops.varlen_attention.call import Call
from sft_kernels.ops.varlen_attention.reference import Scoring

__all__ = ["attend", "reason_not"]


def reason_not(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> str | None:
    """Why it cannot run, or None."""
    if call.softcap:
        return "torch's scaled_dot_product_attention has no softcap"
    if sinks is not None:
        return "torch's scaled_dot_product_attention has no sinks"
    if call.return_lse:
        return "torch's scaled_dot_product_attention returns no lse"
    if torch.compiler.is_compiling():
        return "it reads the documents' lengths on the host, which torch.compile cannot trace"
    return None


def attend(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> tuple[Tensor, None]:
    """``out [T_q, H, Dv]``; `sinks` is None."""
    lengths_q = call.boundaries.cu_q.diff().tolist()
    lengths_k = call.boundaries.cu_k.diff().tolist()
    # split, because the gradient of a slice is as large as the row
    pieces = zip(q.split(lengths_q), k.split(lengths_k), v.split(lengths_k), strict=True)
    outs = [_document(*piece, call) for piece in pieces if piece[0].shape[0]]
    return torch.cat(outs) if outs else _empty(q, k, v, call), None


def _document(q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    n_queries, n_keys = q.shape[0], k.shape[0]
    if n_queries != n_keys:  # torch aligns a causal mask at the top left, and rows that see no key are not defined
        return _written_out(q, k, v, call)
    left_open, right_open = (side < 0 or side >= n_keys - 1 for side in (call.left, call.right))
    causal, mask = left_open and call.right == 0, None
    if not (causal or (left_open and right_open)):
        mask = reference.seen(n_queries, n_keys, _scoring(call), q.device)
    heads_first = (x.transpose(0, 1)[None] for x in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    out = scaled_dot_product_attention(
        *heads_first, attn_mask=mask, is_causal=causal, scale=call.scale, enable_gqa=grouped
    )
    return out[0].transpose(0, 1)


def _written_out(q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    acc = accumulator(q.dtype)
    return reference.attend_document(q.to(acc), k.to(acc), v.to(acc), None, _scoring(call))[0].to(q.dtype)


def _empty(q: Tensor, k: Tensor, v: Tensor, call: Call) -> Tensor:
    """No rows; gradients are zeros, not missing."""
    return _written_out(q, k[:0], v[:0], call)


def _scoring(call: Call) -> Scoring:
    return Scoring(call.scale, call.softcap, call.left, call.right)
