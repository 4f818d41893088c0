"""Attention over packed documents."""

from sft_kernels.attention.varlen import flash_attn_varlen_func

__all__ = ["flash_attn_varlen_func"]
