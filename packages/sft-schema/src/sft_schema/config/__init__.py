"""The config: one section per concern, `SftConfig` is all of them."""

from sft_schema.config.adapter import AdapterSection
from sft_schema.config.data import DataSection, DatasetConfig, FormatName, MaskSection, TrainOnEos
from sft_schema.config.model import ModelSection, SpecialTokens
from sft_schema.config.pack import PackingSection
from sft_schema.config.root import SftConfig
from sft_schema.config.run import EvaluationSection, LoggingSection, SavingSection
from sft_schema.config.section import Section
from sft_schema.config.train import BatchSection, OptimizerSection, PrecisionSection

__all__ = [
    "AdapterSection",
    "BatchSection",
    "DataSection",
    "DatasetConfig",
    "EvaluationSection",
    "FormatName",
    "LoggingSection",
    "MaskSection",
    "ModelSection",
    "OptimizerSection",
    "PackingSection",
    "PrecisionSection",
    "SavingSection",
    "Section",
    "SftConfig",
    "SpecialTokens",
    "TrainOnEos",
]
