"""sft-schema."""
