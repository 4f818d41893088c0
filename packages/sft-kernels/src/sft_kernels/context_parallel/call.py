"""A model's attention over a shared row: what travels through its forward, and what its layers call."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sft_kernels.context_parallel.blocks import Ring
from sft_kernels.context_parallel.exchange import rank_in
from sft_kernels.context_parallel.layout import ContextLayout, contiguous, zigzag
from sft_kernels.context_parallel.plan import plan_ring
from sft_kernels.context_parallel.ring import ring_varlen
from sft_kernels.context_parallel.ulysses import ulysses_varlen

__all__ = ["METHODS", "ContextParallel"]

METHODS = {"ring": zigzag, "ulysses": contiguous}
"""By name, what makes the layout of a row."""


class ContextParallel:
    """One batch's way through the attention of all layers.

    Made once per batch from its layout. The keyword argument ``context_parallel`` of a model's forward takes it to
    the attention that `sft_kernels.transformers` registers; there is no global state.

    Args:
        layout: of the row, made by ``METHODS[method]``.
        group: the ranks that share it.
        method: ``ring`` or ``ulysses``.

    Raises:
        ValueError: another method, or a group that is not the layout's.
    """

    def __init__(self, layout: ContextLayout, group: dist.ProcessGroup, method: str) -> None:
        if method not in METHODS:
            raise ValueError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
        self.layout, self.group, self.method = layout, group, method
        self.rank = rank_in(group, layout.ranks)
        self._rings: dict[tuple[int, int], Ring] = {}
        self._cu_seqlens: Tensor | None = None

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool, window_size: tuple[int, int], **how: Any
    ) -> Tensor:
        """Attention of one layer; see `ring_varlen` and `ulysses_varlen` for arguments, result and errors."""
        if self.method == "ring":
            window = window_size[0], 0 if causal else window_size[1]
            if window not in self._rings:
                self._rings[window] = Ring(plan_ring(self.layout, self.rank, *window), self.group, {})
            how["ring"] = self._rings[window]
            return ring_varlen(q, k, v, self.layout, self.group, causal=causal, window_size=window_size, **how)
        if self._cu_seqlens is None:
            self._cu_seqlens = torch.tensor(self.layout.documents, dtype=torch.int32, device=q.device)
        how["cu_seqlens"] = self._cu_seqlens
        return ulysses_varlen(q, k, v, self.layout, self.group, causal=causal, window_size=window_size, **how)
