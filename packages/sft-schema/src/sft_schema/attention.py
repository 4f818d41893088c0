"""What each attention backend can do, as one table.

`attn_implementation` is the only attention setting; everything else about attention is read off its row.
How a backend keeps packed samples apart:

    varlen      gets `cu_seqlens`; tokens of other samples are never touched
    block_mask  gets `position_ids`; transformers builds a block-diagonal mask from them
    none        tokens of one sample would see those of another

Source of the facts: transformers 5.17 to 5.23 `masking_utils` and `modeling_flash_attention_utils`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Isolation = Literal["varlen", "block_mask", "none"]


@dataclass(frozen=True, slots=True)
class AttentionBackend:
    """One row of the table.

    Attributes:
        name: the value of `attn_implementation`.
        isolation: how packed samples are kept apart (see the module's docstring).
        library: the package it needs besides torch, or None.
        dtypes: dtypes it computes in; other inputs are cast.
        on_cpu: whether it can train on a CPU.
    """

    name: str
    isolation: Isolation
    library: str | None
    dtypes: tuple[str, ...]
    on_cpu: bool

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


_ALL = ("float32", "bfloat16", "float16")
_HALF = ("bfloat16", "float16")

BACKENDS: dict[str, AttentionBackend] = {
    row.name: row
    for row in (
        AttentionBackend("eager", "block_mask", None, _ALL, on_cpu=True),
        AttentionBackend("sdpa", "block_mask", None, _ALL, on_cpu=True),
        AttentionBackend("flex_attention", "block_mask", None, _ALL, on_cpu=False),
        AttentionBackend("flash_attention_2", "varlen", "flash-attn", _HALF, on_cpu=False),
        AttentionBackend("flash_attention_3", "varlen", "flash-attn-3", _HALF, on_cpu=False),
    )
}
