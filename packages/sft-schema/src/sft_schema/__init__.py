"""Config, data records, attention capabilities and contract checks of supervised fine-tuning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sft_schema.attention import BACKENDS, AttentionBackend
from sft_schema.config import SftConfig
from sft_schema.constants import CONFIG_VERSION, IGNORE_INDEX, RECORDS_VERSION
from sft_schema.errors import ConfigError, ContractError, DataError, Issue, SftError, StoppedEarlyError, TrainingError

if TYPE_CHECKING:
    from sft_schema.load import load_config, parse_config

__all__ = [
    "BACKENDS",
    "CONFIG_VERSION",
    "IGNORE_INDEX",
    "RECORDS_VERSION",
    "AttentionBackend",
    "ConfigError",
    "ContractError",
    "DataError",
    "Issue",
    "SftConfig",
    "SftError",
    "StoppedEarlyError",
    "TrainingError",
    "load_config",
    "parse_config",
]

# Reading a file brings the tables of other systems' keys, which those who only want the records never need.
_READS_FILES = ("load_config", "parse_config")


def __getattr__(name: str) -> Any:
    if name in _READS_FILES:
        return getattr(import_module("sft_schema.load"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
