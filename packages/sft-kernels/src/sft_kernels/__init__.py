"""Ops for fine-tuning: varlen attention, fused layers, and helpers for packed batches.

Importing it loads torch alone and defines the ops; triton is loaded when the first kernel runs.
"""

from sft_kernels import dispatch
from sft_kernels.attention import flash_attn_varlen_func
from sft_kernels.dispatch import implementations, use_backend
from sft_kernels.ops.dequantize import (
    FP4_CODE,
    NF4_CODE,
    QuantState,
    dequantize,
    dequantize_8bit,
    dequantize_fp4,
    dequantize_int8,
    dequantize_nf4,
)
from sft_kernels.ops.grouped_linear import grouped_linear
from sft_kernels.ops.lora_linear import Projection, lora_linear, lora_qkv
from sft_kernels.ops.lora_mlp import lora_mlp
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
    "FP4_CODE",
    "NF4_CODE",
    "Projection",
    "QuantState",
    "add_rms_norm",
    "cu_seqlens_from_lengths",
    "cu_seqlens_from_position_ids",
    "dequantize",
    "dequantize_8bit",
    "dequantize_fp4",
    "dequantize_int8",
    "dequantize_nf4",
    "document_causal_mask",
    "document_ids_from_cu_seqlens",
    "flash_attn_varlen_func",
    "grouped_linear",
    "implementations",
    "lora_linear",
    "lora_mlp",
    "lora_qkv",
    "max_seqlen",
    "position_ids_from_cu_seqlens",
    "rms_norm",
    "use_backend",
    "validate_cu_seqlens",
]

dispatch.check_environment()
