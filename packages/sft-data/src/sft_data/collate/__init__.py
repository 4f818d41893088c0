"""Collate: samples to rows, rows to a batch, without padding."""

from sft_data.collate.batch import collate, pack_row

__all__ = ["collate", "pack_row"]
