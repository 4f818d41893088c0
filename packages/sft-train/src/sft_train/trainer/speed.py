"""Part of what its GPUs can compute that a run computes (MFU, Chowdhery et al. 2022, arXiv 2204.02311)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sft_train.model import weights_of

_TERA = 1e12
PEAKS: tuple[tuple[str, float], ...] = (
    ("GB200", 2500),
    ("B200", 2250),
    ("GH200", 989),
    ("H200", 989),
    ("H100 NVL", 835),
    ("H100 PCIe", 756),
    ("H100", 989),
    ("H800", 989),
    ("A100", 312),
    ("A800", 312),
    ("L40S", 362),
    ("L40", 181),
    ("L4", 121),
    ("A10G", 70),
    ("A10", 125),
    ("RTX 5090", 209),
    ("RTX 4090", 165),
    ("RTX 3090", 71),
)
"""Part of a device's name, and dense bfloat16 TFLOP/s with sums in float32, of the makers' data sheets.

The first that fits counts. A device that is not here has no `mfu`.
"""


@dataclass(frozen=True, slots=True)
class Speed:
    """What a token costs and what all devices can do.

    Attributes:
        flops_per_token: of the products with weights: 2 for each in the forward pass, 2 in the backward pass to hand
            the gradient on, and 2 where the weight is trained. Recomputation and attention over the sequence do not
            count, nor does the lookup of embeddings.
        peak: FLOP/s of all devices together.
    """

    flops_per_token: float
    peak: float

    def share(self, tokens_per_second: float) -> float:
        """Part of the peak, 0 to 1."""
        return tokens_per_second * self.flops_per_token / self.peak


def speed_of(model: nn.Module, device: str | None, processes: int) -> Speed | None:
    """The speed of a run in 16 bits; None where the peak of its device is not known.

    Args:
        model: bare or with an adapter.
        device: name of the GPU of each process; None without one, or in float32.
        processes: in all.
    """
    peak = None if device is None else next((tera for name, tera in PEAKS if name in device), None)
    return None if peak is None else Speed(flops_per_token(model), peak * _TERA * processes)


def flops_per_token(model: nn.Module) -> float:
    """See `Speed.flops_per_token`. Of a mixture all experts count, so its `mfu` is too high."""
    bare: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    tied = bare.get_output_embeddings() is not None and (
        bare.get_output_embeddings().weight is bare.get_input_embeddings().weight
    )
    looked_up = set() if tied else {id(each) for each in bare.get_input_embeddings().parameters()}
    products = [each for each in model.parameters() if each.ndim > 1 and id(each) not in looked_up]
    return sum(weights_of(each) * (6 if each.requires_grad else 4) for each in products)


def peak_memory(device: torch.device) -> dict[str, float]:
    """`peak_memory_gib`: the most that tensors of this process have taken on its GPU so far; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {"peak_memory_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 3)}
