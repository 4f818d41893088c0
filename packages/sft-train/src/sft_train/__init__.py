"""sft-train."""
