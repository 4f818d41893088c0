"""What a run leaves behind to be read: its settings, its summary and its model card."""

from sft_train.report.card import write_card, write_outcome
from sft_train.report.config import write_config
from sft_train.report.hub import push_result, require_hub
from sft_train.report.summary import Course, summarise, write_summary

__all__ = [
    "Course",
    "push_result",
    "require_hub",
    "summarise",
    "write_card",
    "write_config",
    "write_outcome",
    "write_summary",
]
