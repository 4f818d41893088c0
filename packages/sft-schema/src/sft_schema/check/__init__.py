"""Executable contracts of the token records."""

from sft_schema.check.record import check_batch, check_plan, check_rendered, check_row, check_sample

__all__ = ["check_batch", "check_plan", "check_rendered", "check_row", "check_sample"]
