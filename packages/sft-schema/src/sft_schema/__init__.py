"""Config, data records, attention capabilities and contract checks of supervised fine-tuning."""

from sft_schema.attention import BACKENDS, AttentionBackend
from sft_schema.config import SftConfig
from sft_schema.constants import CONFIG_VERSION, IGNORE_INDEX, RECORDS_VERSION
from sft_schema.errors import ConfigError, ContractError, DataError, Issue, SftError, TrainingError
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
    "TrainingError",
    "load_config",
    "parse_config",
]
