"""Ops for fine-tuning: varlen attention, fused layers, and helpers for packed batches.

Importing it loads torch alone and defines the ops; triton is loaded when the first kernel runs.
"""

from sft_kernels import dispatch
from sft_kernels.attention import flash_attn_varlen_func
from sft_kernels.dispatch import implementations, use_backend
from sft_kernels.ops.cross_entropy import cross_entropy
from sft_kernels.ops.linear_cross_entropy import HeadLora, VocabShard, linear_cross_entropy, linear_logprobs
from sft_kernels.ops.rms_norm import add_rms_norm, rms_norm
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
    "HeadLora",
    "VocabShard",
    "add_rms_norm",
    "cross_entropy",
    "cu_seqlens_from_lengths",
    "cu_seqlens_from_position_ids",
    "document_causal_mask",
    "document_ids_from_cu_seqlens",
    "flash_attn_varlen_func",
    "implementations",
    "linear_cross_entropy",
    "linear_logprobs",
    "max_seqlen",
    "position_ids_from_cu_seqlens",
    "rms_norm",
    "use_backend",
    "validate_cu_seqlens",
]

dispatch.check_environment()
