"""torch's flex attention under a mask of documents: Dong et al., "Flex Attention" (arXiv:2412.05496).

Windows and documents are a mask whose blocks are skipped where nothing is seen, the softcap a function of scores, and
a sink, which has no value, a factor on the result that torch differentiates through the lse::

    out = softmax over keys and sink  =  out without the sink * sigmoid(lse without the sink - sink)

On a GPU torch compiles it, once for each form of the mask and with sizes that may change. On a CPU it writes all
scores of the row out and has no backward pass, so it is there for comparisons. No host sync.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from sft_kernels import optional
from sft_kernels.launch import accumulator
from sft_kernels.ops.varlen_attention.call import Call
from sft_kernels.packing import document_ids_from_cu_seqlens

__all__ = ["attend", "reason_not"]

MODULE = "torch.nn.attention.flex_attention"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def reason_not(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> str | None:
    """Why it cannot run, or None."""
    if torch.compiler.is_compiling():
        return "its mask is compiled by itself; leave the choice to the dispatcher under torch.compile"
    wants_gradient = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (q, k, v, sinks))
    if q.device.type == "cpu" and wants_gradient:
        return "flex attention has no backward pass on a CPU"
    if call.deterministic:
        return "flex attention does not promise the same bits twice"
    if q.dtype not in DTYPES:
        return f"tensors are {q.dtype}, and flex attention computes in float32, bfloat16 or float16"
    if q.device.type != "cpu" and (min(q.shape[2], v.shape[2]) < 16 or max(q.shape[2], v.shape[2]) > 256):
        return f"heads have {q.shape[2]} and {v.shape[2]} elements, and flex attention's kernels take 16 to 256"
    if not (q.shape[0] and k.shape[0]):
        return "there are no tokens, and flex attention wants some"
    if optional.function(MODULE, "AuxRequest") is None:
        return "a torch whose flex_attention returns the lse through return_aux is not installed"
    return None


def attend(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> tuple[Tensor, Tensor]:
    """``out [T_q, H, Dv]`` and ``lse [H, T_q]``, float32."""
    mask = _block_mask(q, k, call)
    if not torch.is_grad_enabled():  # or torch refuses on a CPU what could have a gradient, though none is wanted
        q, k, v = q.detach(), k.detach(), v.detach()
    heads_first = (x.transpose(0, 1)[None] for x in (q, k, v))
    out, aux = _function("flex_attention", q.device.type == "cuda")(
        *heads_first, score_mod=_cap(call.softcap) if call.softcap else None, block_mask=mask, scale=call.scale,
        enable_gqa=q.shape[1] != k.shape[1], return_aux=_load("AuxRequest")(lse=True),
    )  # fmt: skip
    out, lse = out[0].transpose(0, 1), aux.lse[0].to(accumulator(q.dtype))
    if sinks is None:
        return out, lse.masked_fill(lse == float("-inf"), float("inf"))
    extra = sinks.to(lse.dtype)[:, None]
    return out * torch.sigmoid(lse - extra).T[..., None].to(out.dtype), torch.logaddexp(lse, extra)


def _block_mask(q: Tensor, k: Tensor, call: Call) -> Any:
    cu_q, cu_k = call.boundaries[:2]
    of_query, of_key = (document_ids_from_cu_seqlens(cu, x.shape[0]) for cu, x in ((cu_q, q), (cu_k, k)))
    # a query stands at the key that is as far from its document's end as the query is
    place = torch.arange(q.shape[0], device=q.device) + (cu_k[1:] - cu_q[1:])[of_query]
    seen = _seen(of_query, of_key, place, call.left, call.right)
    make = _function("create_block_mask", q.device.type == "cuda")
    return make(seen, None, None, q.shape[0], k.shape[0], device=q.device)


def _seen(of_query: Tensor, of_key: Tensor, place: Tensor, left: int, right: int) -> Callable[..., Tensor]:
    def mask(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = of_query[query] == of_key[key]
        if right >= 0:
            seen = seen & (key <= place[query] + right)
        if left >= 0:
            seen = seen & (key >= place[query] - left)
        return seen

    return mask


def _cap(softcap: float) -> Callable[..., Tensor]:
    def score(value: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(value / softcap)

    return score


@cache
def _function(name: str, compiled: bool) -> Callable[..., Any]:
    """Compiled once; sizes that change from batch to batch are no part of what it is compiled for."""
    return torch.compile(_load(name), dynamic=True) if compiled else _load(name)


def _load(name: str) -> Callable[..., Any]:
    found = optional.function(MODULE, name)
    if found is None:
        raise ImportError(f"{MODULE}.{name} cannot be imported; install a newer torch, or leave `backend` out")
    return found
