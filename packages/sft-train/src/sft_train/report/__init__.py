"""What a run leaves behind to be read: its settings and its summary."""

from sft_train.report.config import write_config
from sft_train.report.summary import Course, summarise, write_summary

__all__ = ["Course", "summarise", "write_config", "write_summary"]
