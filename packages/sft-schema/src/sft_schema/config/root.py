"""The whole config: flat in YAML, sections in code."""

from __future__ import annotations

from sft_schema.config.adapter import AdapterSection
from sft_schema.config.data import DataSection, MaskSection
from sft_schema.config.device import DeviceSection
from sft_schema.config.loss import LossSection
from sft_schema.config.memory import MemorySection
from sft_schema.config.mix import MixingSection
from sft_schema.config.model import ModelSection
from sft_schema.config.optimizer import OptimizerSection, RateSection, ScheduleSection
from sft_schema.config.pack import PackingSection
from sft_schema.config.picture import PictureSection
from sft_schema.config.plugin import PluginSection
from sft_schema.config.quantise import QuantisationSection
from sft_schema.config.run import EvaluationSection, LoggingSection, OutcomeSection, SavingSection
from sft_schema.config.service import ServiceSection
from sft_schema.config.shard import ShardingSection
from sft_schema.config.train import BatchSection, PrecisionSection


# pydantic takes fields from the last base to the first: the model's settings come first
class SftConfig(
    PluginSection,
    ShardingSection,
    DeviceSection,
    ServiceSection,
    LoggingSection,
    OutcomeSection,
    EvaluationSection,
    SavingSection,
    LossSection,
    MemorySection,
    PrecisionSection,
    ScheduleSection,
    RateSection,
    OptimizerSection,
    BatchSection,
    AdapterSection,
    QuantisationSection,
    PackingSection,
    MaskSection,
    MixingSection,
    PictureSection,
    DataSection,
    ModelSection,
):
    """Every setting of a run.

    Functions take the narrowest section they need, not this class. Made by `sft_schema.load_config`; nothing
    writes to it afterwards.
    """
