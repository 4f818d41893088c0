"""What this machine can do for training: its GPUs, and which attention works on them. Nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sft_kernels import implementations
from sft_kernels.ops.varlen_attention import OP, Boundaries, Call
from sft_schema.attention import ALL_BACKENDS, AttentionNeeds, unmet
from sft_train.compute import Compute
from sft_train.model import backend_problem

_HEADS, _HEAD_DIM, _TOKENS = 4, 128, 64
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device.

    Attributes:
        name: as the driver calls it.
        gigabytes: its memory, in GB (1e9 bytes).
        free: of it not in use now.
        capability: its compute capability times ten.
        bf16: whether it computes in bfloat16.
    """

    name: str
    gigabytes: float
    free: float
    capability: int
    bf16: bool


def gpus() -> tuple[Gpu, ...]:
    """All CUDA devices that torch can use; none where there is no driver, or torch is built without CUDA."""
    return tuple(_gpu(index) for index in range(torch.cuda.device_count())) if torch.cuda.is_available() else ()


def why_no_gpu() -> str:
    """Why torch sees no CUDA device, as a sentence."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return f"torch {torch.__version__} is built for CUDA {torch.version.cuda}, and finds no device with a driver for it"


def attention_backends() -> dict[str, str | None]:
    """Every value of `attn_implementation`, with why it cannot train here; None for those that can.

    Number format and device are those of `bf16: auto`. What a model needs beyond that (a sliding window, wide heads) is
    checked with the model.
    """
    found = gpus()
    compute = Compute(bf16=bool(found) and found[0].bf16, use_cpu=not found)
    needs = AttentionNeeds(sm=found[0].capability if found else None)
    reasons: dict[str, str | None] = {}
    for name, row in ALL_BACKENDS.items():
        lacking = (*filter(None, (row.missing or backend_problem(row, compute),)), *unmet(row, needs))
        reasons[name] = "; ".join(lacking) or None
    return reasons


def varlen_kernels() -> dict[str, str | None]:
    """What could run `attn_implementation: sft_varlen` here, best first, with why not; None for what can.

    Asked for heads of 128 in bfloat16, or in float32 on a CPU, with gradients.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    q = torch.empty(_TOKENS, _HEADS, _HEAD_DIM, device=device, dtype=dtype, requires_grad=True)
    ends = torch.tensor([0, _TOKENS // 2, _TOKENS], dtype=torch.int32, device=device)
    call = Call(Boundaries(ends, ends, _TOKENS, _TOKENS), _HEAD_DIM**-0.5, right=0)
    return implementations(OP, q, q, q, None, call)


def _gpu(index: int) -> Gpu:
    free, total = torch.cuda.mem_get_info(index)
    major, minor = torch.cuda.get_device_capability(index)
    name = torch.cuda.get_device_name(index)
    return Gpu(name, total / _GB, free / _GB, 10 * major + minor, torch.cuda.is_bf16_supported())
