"""Varlen attention and packing helpers for fine-tuning; needs torch alone."""

from sft_kernels.attention import flash_attn_varlen_func
from sft_kernels.packing import (
    cu_seqlens_from_lengths,
    cu_seqlens_from_position_ids,
    document_causal_mask,
    document_ids_from_cu_seqlens,
    max_seqlen,
    position_ids_from_cu_seqlens,
    validate_cu_seqlens,
)

__all__ = [
    "cu_seqlens_from_lengths",
    "cu_seqlens_from_position_ids",
    "document_causal_mask",
    "document_ids_from_cu_seqlens",
    "flash_attn_varlen_func",
    "max_seqlen",
    "position_ids_from_cu_seqlens",
    "validate_cu_seqlens",
]
