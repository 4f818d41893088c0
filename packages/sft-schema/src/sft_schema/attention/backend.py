"""One row of the table of attention backends."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

Isolation = Literal["varlen", "block_mask", "none"]
Determinism = Literal["always", "on_request", "unknown"]


@dataclass(frozen=True, slots=True)
class AttentionBackend:
    """What one backend can do. What a row does not say, the backend is taken not to do.

    Attributes:
        name: the value of `attn_implementation`.
        isolation: how packed samples are kept apart (see `sft_schema.attention.table`).
        library: the package it needs besides torch, or None.
        dtypes: dtypes it computes in; other inputs are cast.
        on_cpu: whether it can train on a CPU.
        min_sm: lowest CUDA compute capability, times ten (80 is 8.0); None for any.
        only_sm: the capabilities it has kernels for; empty for all from `min_sm` on.
        max_head_dim: largest head dimension; None for any.
        head_dim_multiple: head dimensions are multiples of this.
        sliding_window: whether a query can be kept to its last W keys.
        softcap: whether scores can go through `softcap * tanh(score / softcap)`.
        sinks: whether a head can have a learned logit without a value in its softmax.
        context_parallel: whether several processes can share one row (`context_parallel_size`).
        deterministic: whether the gradients of two equal calls have equal bits: `always`, `on_request` (a switch
            of the library or of torch), or `unknown`, where neither is documented.
        missing: why it cannot be chosen yet; None when it can.
    """

    name: str
    isolation: Isolation
    library: str | None
    dtypes: tuple[str, ...]
    on_cpu: bool
    _: KW_ONLY
    min_sm: int | None = None
    only_sm: tuple[int, ...] = ()
    max_head_dim: int | None = None
    head_dim_multiple: int = 1
    sliding_window: bool = False
    softcap: bool = False
    sinks: bool = False
    context_parallel: bool = False
    deterministic: Determinism = "unknown"
    missing: str | None = None

    @property
    def available(self) -> bool:
        """Whether it can be chosen."""
        return self.missing is None

    @property
    def attn_supports_packing(self) -> bool:
        """Whether packed samples stay apart."""
        return self.isolation != "none"

    @property
    def attn_uses_flash_lib(self) -> bool:
        """Whether the flash-attn library must be installed."""
        return self.library is not None and self.library.startswith("flash")

    @property
    def attn_needs_dtype_cast(self) -> bool:
        """Whether float32 activations must be cast before the call."""
        return "float32" not in self.dtypes
