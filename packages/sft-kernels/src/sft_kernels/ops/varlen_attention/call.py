"""What a call of varlen attention is, besides its tensors."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["OP", "Boundaries", "Call"]

OP = "varlen_attention"


class Boundaries(NamedTuple):
    """Where documents begin and end; see `sft_kernels.packing`."""

    cu_q: Tensor
    cu_k: Tensor
    longest_q: int
    longest_k: int


class Call(NamedTuple):
    """How scores are made, who sees whom, and what is wanted."""

    boundaries: Boundaries
    scale: float
    softcap: float = 0.0
    left: int = -1
    """Keys to the left of a query's own position that it may see, -1 for all."""
    right: int = -1
    return_lse: bool = False
    deterministic: bool = False
    """Whether two calls must have the same bits."""
