"""sft-cli."""
