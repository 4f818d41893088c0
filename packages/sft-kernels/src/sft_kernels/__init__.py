"""sft-kernels."""
