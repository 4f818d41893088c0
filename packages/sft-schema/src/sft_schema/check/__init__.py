"""Executable contracts of the records."""

from sft_schema.check.example import check_example, check_manifest
from sft_schema.check.record import check_batch, check_plan, check_rendered, check_row, check_sample

__all__ = [
    "check_batch",
    "check_example",
    "check_manifest",
    "check_plan",
    "check_rendered",
    "check_row",
    "check_sample",
]
