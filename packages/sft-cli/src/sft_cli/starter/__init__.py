"""A first config for somebody's data, model and hardware: what `sft init` chooses and writes."""

from sft_cli.starter.choose import Plan, plan
from sft_cli.starter.data import DataLook, look_at
from sft_cli.starter.hardware import Hardware, found_here, parse_hardware
from sft_cli.starter.model import ModelLook, look_at_model
from sft_cli.starter.write import config_text

__all__ = [
    "DataLook",
    "Hardware",
    "ModelLook",
    "Plan",
    "config_text",
    "found_here",
    "look_at",
    "look_at_model",
    "parse_hardware",
    "plan",
]
