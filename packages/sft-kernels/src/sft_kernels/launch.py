"""What launchers of triton kernels share; it imports torch alone."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Specialisation", "accumulator", "as_rows"]


class Specialisation(NamedTuple):
    """One compiled form of a kernel, for the gate that compiles all of them without a GPU (tools/kernels_gate.py).

    A module of kernels has a function ``specialisations()`` that returns those its launchers use most.
    """

    name: str
    kernel: Any  # a function under triton.jit
    types: Mapping[str, str]  # triton's names of the types of pointers and floats; other arguments are i32
    constants: Mapping[str, Any]  # constexpr arguments, and None for pointers that are left out
    warps: int
    stages: int = 2
    capabilities: tuple[int, ...] = (80, 90, 100)  # that it is launched on, of those that the gate compiles for


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """What sums and intermediate values are held in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def as_rows(tensor: Tensor) -> Tensor:
    """``[..., N]`` as ``[rows, N]`` with the elements of a row next to one another; a copy only where it must be."""
    flat = tensor.reshape(-1, tensor.shape[-1])
    return flat if flat.stride(-1) == 1 or flat.shape[-1] == 1 else flat.contiguous()
