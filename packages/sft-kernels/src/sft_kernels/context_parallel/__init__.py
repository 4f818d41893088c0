"""Packed rows spread over ranks: who has which tokens, and attention over all of them.

One row of documents, cut over ranks; each rank runs the model on its own tokens, and attention is the one place where
they meet. Two ways, with torch.distributed alone:

    ring_varlen      keys and values go from rank to rank, and parts of the softmax are merged; any number of heads
    ulysses_varlen   tokens are exchanged for heads, and each rank computes some heads of the whole row
"""

from sft_kernels.context_parallel.call import METHODS, ContextParallel
from sft_kernels.context_parallel.layout import ContextLayout, contiguous, zigzag
from sft_kernels.context_parallel.ring import ring_varlen
from sft_kernels.context_parallel.split import PackedSlice, gather, split_packed, take
from sft_kernels.context_parallel.ulysses import ulysses_varlen

__all__ = [
    "METHODS",
    "ContextLayout",
    "ContextParallel",
    "PackedSlice",
    "contiguous",
    "gather",
    "ring_varlen",
    "split_packed",
    "take",
    "ulysses_varlen",
    "zigzag",
]
