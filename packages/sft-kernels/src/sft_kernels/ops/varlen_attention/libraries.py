"""Attention kernels of other libraries: what each can do, and how it is called.

The fourth positional argument differs between them, so all are called by keyword: flash-attn 2 and 3 have
``cu_seqlens_q`` there, flash-attn 4 ``qv``. In flash-attn 2 and 3 a window of -1 is open, in 4 it is None; 4 always
returns the lse. Sources: the interfaces of flash-attn 2.8 (flash_attn), 3 (flash_attn_interface) and 4.0
(flash_attn.cute), and torch.nn.attention.varlen of torch 2.15.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from sft_kernels import optional
from sft_kernels.ops.varlen_attention.call import Call

__all__ = ["ATTEND", "REASON_NOT"]

Result = tuple[Tensor, Tensor | None]
HALF = (torch.bfloat16, torch.float16)
FA2 = ("flash_attn", "flash_attn_varlen_func")
FA3 = ("flash_attn_interface", "flash_attn_varlen_func")
FA4 = ("flash_attn.cute", "flash_attn_varlen_func")
TORCH = ("torch.nn.attention.varlen", "varlen_attn")


def _flash_attn_2(q: Tensor, k: Tensor, v: Tensor, _: Tensor | None, call: Call) -> Result:
    out = _function(FA2)(**_named(q, k, v, call), dropout_p=0.0, return_attn_probs=call.return_lse)
    return (out[0], out[1]) if call.return_lse else (out, None)


def _flash_attn_3(q: Tensor, k: Tensor, v: Tensor, _: Tensor | None, call: Call) -> Result:
    named = _named(q, k, v, call)
    if call.return_lse and "return_attn_probs" in signature(_function(FA3)).parameters:
        named["return_attn_probs"] = True
    out = _function(FA3)(**named)
    return (out[0], out[1]) if isinstance(out, tuple) else (out, None)


def _flash_attn_4(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> Result:
    named = _named(q, k, v, call)
    named["window_size"] = tuple(None if side < 0 else side for side in (call.left, call.right))
    if sinks is not None:
        named["learnable_sink"] = sinks.to(torch.bfloat16)
    out, lse = _function(FA4)(**named)[:2]
    return out, lse


def _torch_varlen(q: Tensor, k: Tensor, v: Tensor, _: Tensor | None, call: Call) -> Result:
    where, named = call.boundaries, {}
    if call.return_lse:
        request = optional.function(TORCH[0], "AuxRequest")
        named["return_aux"] = request and request(lse=True)
    out = _function(TORCH)(
        query=q, key=k, value=v, cu_seq_q=where.cu_q, cu_seq_k=where.cu_k, max_q=where.longest_q, max_k=where.longest_k,
        scale=call.scale, window_size=(call.left, call.right), enable_gqa=q.shape[1] != k.shape[1], **named,
    )  # fmt: skip
    return out if isinstance(out, tuple) else (out, None)


def _named(q: Tensor, k: Tensor, v: Tensor, call: Call) -> dict[str, Any]:
    """Arguments whose names flash-attn 2, 3 and 4 share."""
    where = call.boundaries
    return {
        "q": q, "k": k, "v": v, "cu_seqlens_q": where.cu_q, "cu_seqlens_k": where.cu_k,
        "max_seqlen_q": where.longest_q, "max_seqlen_k": where.longest_k, "softmax_scale": call.scale,
        "causal": call.right == 0, "window_size": (call.left, call.right), "softcap": call.softcap,
        "deterministic": call.deterministic,
    }  # fmt: skip


def _reason_2(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> str | None:
    if not _on_gpu(q) or optional.function(*FA2) is None:
        return _not_here(q, "flash-attn")
    # its backward pass counts elements of padded documents in 32 bits
    padded = (q.shape[0] + 128 * call.boundaries.cu_q.numel()) * q.shape[1] * (-(-q.shape[2] // 32) * 32)
    if padded >= 2**31:
        return f"{q.shape[0]} tokens in {call.boundaries.cu_q.numel() - 1} documents overflow its 32-bit offsets"
    return _shared_reason(q, v, call, least=(8, 0)) or _lacking(sinks, call)


def _reason_3(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> str | None:
    if not _on_gpu(q) or optional.function(*FA3) is None:
        return _not_here(q, "flash-attn-3")
    return _shared_reason(q, v, call, least=(9, 0), most=(9, 0)) or _lacking(sinks, call)


def _reason_4(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> str | None:
    if not _on_gpu(q) or optional.function(*FA4) is None:
        return _not_here(q, "flash-attn-4")
    if q.shape[2] > 128:
        return f"heads have {q.shape[2]} elements, and it has backward kernels for up to 128 on every device"
    return _shared_reason(q, v, call, least=(9, 0), most=(11, 0))


def _torch_reason(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, call: Call) -> str | None:
    if call.softcap:
        return "it has no softcap"
    if call.deterministic and not torch.are_deterministic_algorithms_enabled():
        return "it is deterministic only under torch.use_deterministic_algorithms"
    found = optional.function(*TORCH) if _on_gpu(q) else None
    if found is None or not {"window_size", "enable_gqa"} <= signature(found).parameters.keys():
        return _not_here(q, "a torch whose varlen_attn has windows and grouped heads")
    return _shared_reason(q, v, call, least=(8, 0)) or _lacking(sinks, call)


def _shared_reason(
    q: Tensor, v: Tensor, call: Call, *, least: tuple[int, int], most: tuple[int, int] = (99, 0)
) -> str | None:
    """What all of them ask of tensors and of a CUDA device."""
    if q.dtype not in HALF:
        return f"tensors are {q.dtype}, and it computes in bfloat16 or float16"
    if q.shape[2] != v.shape[2] or q.shape[2] % 8 or q.shape[2] > 256:
        return f"heads have {q.shape[2]} and {v.shape[2]} elements; it wants equal multiples of 8 up to 256"
    if not call.scale > 0:
        return f"softmax_scale is {call.scale}, and it wants a positive one"
    capability = torch.cuda.get_device_capability(q.device)
    if not least <= capability <= most:
        return f"the GPU has compute capability {capability[0]}.{capability[1]}, which it has no kernels for"
    return None


def _on_gpu(q: Tensor) -> bool:
    return q.device.type == "cuda" and torch.cuda.is_available()


def _not_here(q: Tensor, library: str) -> str:
    if _on_gpu(q):
        return f"{library} is not installed"
    return f"tensors are on {q.device.type!r}, and it needs a CUDA device"


def _lacking(sinks: Tensor | None, call: Call) -> str | None:
    if sinks is not None:
        return "it has no sinks"
    if call.return_lse and torch.is_grad_enabled():
        return "its lse has no gradient"
    return None


def _function(which: tuple[str, str]) -> Callable[..., Any]:
    found = optional.function(*which)
    if found is None:
        raise ImportError(f"{which[0]}.{which[1]} cannot be imported; install the library, or leave `backend` out")
    return found


ATTEND: dict[str, Callable[..., Result]] = {
    "flash_attn_3": _flash_attn_3,
    "flash_attn_4": _flash_attn_4,
    "torch_varlen": _torch_varlen,
    "flash_attn_2": _flash_attn_2,
}
"""By name, best first."""

REASON_NOT: dict[str, Callable[..., str | None]] = {
    "flash_attn_3": _reason_3,
    "flash_attn_4": _reason_4,
    "torch_varlen": _torch_reason,
    "flash_attn_2": _reason_2,
}
