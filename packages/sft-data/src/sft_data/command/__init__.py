"""The `sft-data` command: the whole offline job on a machine without torch."""

from sft_data.command.main import main

__all__ = ["main"]
