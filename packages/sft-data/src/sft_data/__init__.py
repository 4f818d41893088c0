"""sft-data."""
