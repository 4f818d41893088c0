"""Sizes that break kernels, for hypothesis (which is needed to import this), and values to fill them."""

import torch
from hypothesis import strategies as st
from torch import Tensor

__all__ = ["random", "sizes"]

POWERS = [2**exponent + step for exponent in range(11) for step in (-1, 0, 1)]


def sizes(largest: int) -> st.SearchStrategy[int]:
    """From 1 to `largest`: mostly powers of two and their neighbours, where blocks end."""
    return st.sampled_from([size for size in POWERS if 1 <= size <= largest]) | st.integers(1, largest)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, grad: bool = True) -> Tensor:
    """Normal values, made in float64 and rounded, so that every dtype sees the same ones."""
    generator = torch.Generator().manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(device, dtype).requires_grad_(grad)
