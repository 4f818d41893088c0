"""Ops for fine-tuning: varlen attention, fused layers, and helpers for packed batches.

Importing it loads torch alone and defines the ops; triton is loaded when the first kernel runs.
"""

from sft_kernels import dispatch
from sft_kernels.attention import flash_attn_varlen_func
from sft_kernels.dispatch import implementations, use_backend
from sft_kernels.documents import (
    block_table,
    cu_seqlens_from_document_ids,
    document_mask_mod,
    packed_shift_labels,
    sequence_weights,
)
from sft_kernels.ops.cross_entropy import cross_entropy
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
from sft_kernels.ops.glu import geglu, swiglu, swiglu_packed
from sft_kernels.ops.grouped_linear import grouped_linear
from sft_kernels.ops.layer_norm import layer_norm
from sft_kernels.ops.linear_cross_entropy import HeadLora, VocabShard, linear_cross_entropy, linear_logprobs
from sft_kernels.ops.lora_linear import Projection, lora_linear, lora_qkv
from sft_kernels.ops.lora_mlp import lora_mlp
from sft_kernels.ops.qk_norm_rope import qk_norm_rope
from sft_kernels.ops.rms_norm import add_rms_norm, rms_norm
from sft_kernels.ops.rope import apply_rotary_pos_emb, rope, rope_cached
from sft_kernels.packing import (
    cu_seqlens_from_lengths,
    cu_seqlens_from_position_ids,
    document_causal_mask,
    document_ids_from_cu_seqlens,
    max_seqlen,
    position_ids_from_cu_seqlens,
    validate_cu_seqlens,
)
from sft_kernels.padding import cu_seqlens_from_attention_mask, repad, unpad

__all__ = [
    "FP4_CODE",
    "NF4_CODE",
    "HeadLora",
    "Projection",
    "QuantState",
    "VocabShard",
    "add_rms_norm",
    "apply_rotary_pos_emb",
    "block_table",
    "cross_entropy",
    "cu_seqlens_from_attention_mask",
    "cu_seqlens_from_document_ids",
    "cu_seqlens_from_lengths",
    "cu_seqlens_from_position_ids",
    "dequantize",
    "dequantize_8bit",
    "dequantize_fp4",
    "dequantize_int8",
    "dequantize_nf4",
    "document_causal_mask",
    "document_ids_from_cu_seqlens",
    "document_mask_mod",
    "flash_attn_varlen_func",
    "geglu",
    "grouped_linear",
    "implementations",
    "layer_norm",
    "linear_cross_entropy",
    "linear_logprobs",
    "lora_linear",
    "lora_mlp",
    "lora_qkv",
    "max_seqlen",
    "packed_shift_labels",
    "position_ids_from_cu_seqlens",
    "qk_norm_rope",
    "repad",
    "rms_norm",
    "rope",
    "rope_cached",
    "sequence_weights",
    "swiglu",
    "swiglu_packed",
    "unpad",
    "use_backend",
    "validate_cu_seqlens",
]

dispatch.check_environment()
