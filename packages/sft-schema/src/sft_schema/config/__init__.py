"""The config: one section per concern, `SftConfig` is all of them."""

from sft_schema.config.adapter import AdapterSection
from sft_schema.config.conversation import ConversationConfig, NamedTemplate, TemplateName, TrainOnEos
from sft_schema.config.data import DataSection, DatasetConfig, FormatName, MaskSection
from sft_schema.config.device import DeviceSection
from sft_schema.config.loss import LossSection
from sft_schema.config.memory import CheckpointingKwargs, MemorySection
from sft_schema.config.mix import MixingSection
from sft_schema.config.model import ModelSection, SpecialTokens
from sft_schema.config.optimizer import LrGroup, OptimizerSection, RateSection, ScheduleSection
from sft_schema.config.pack import PackingSection
from sft_schema.config.picture import PictureSection
from sft_schema.config.quantise import BitsAndBytesSettings, QuantisationSection
from sft_schema.config.root import SftConfig
from sft_schema.config.run import EvaluationSection, LoggingSection, OutcomeSection, SavingSection
from sft_schema.config.section import Section
from sft_schema.config.service import ServiceSection
from sft_schema.config.shard import FsdpSettings, ShardingSection, is_sharded
from sft_schema.config.source import FileKind, SourceConfig
from sft_schema.config.train import BatchSection, PrecisionSection, accumulation_steps

__all__ = [
    "AdapterSection",
    "BatchSection",
    "BitsAndBytesSettings",
    "CheckpointingKwargs",
    "ConversationConfig",
    "DataSection",
    "DatasetConfig",
    "DeviceSection",
    "EvaluationSection",
    "FileKind",
    "FormatName",
    "FsdpSettings",
    "LoggingSection",
    "LossSection",
    "LrGroup",
    "MaskSection",
    "MemorySection",
    "MixingSection",
    "ModelSection",
    "NamedTemplate",
    "OptimizerSection",
    "OutcomeSection",
    "PackingSection",
    "PictureSection",
    "PrecisionSection",
    "QuantisationSection",
    "RateSection",
    "SavingSection",
    "ScheduleSection",
    "Section",
    "ServiceSection",
    "SftConfig",
    "ShardingSection",
    "SourceConfig",
    "SpecialTokens",
    "TemplateName",
    "TrainOnEos",
    "accumulation_steps",
    "is_sharded",
]
