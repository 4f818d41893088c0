"""The whole config: flat in YAML, sections in code."""

from __future__ import annotations

from sft_schema.config.adapter import AdapterSection
from sft_schema.config.data import DataSection, MaskSection
from sft_schema.config.model import ModelSection
from sft_schema.config.pack import PackingSection
from sft_schema.config.run import EvaluationSection, LoggingSection, SavingSection
from sft_schema.config.train import BatchSection, OptimizerSection, PrecisionSection


# pydantic takes fields from the last base to the first: the model's settings come first
class SftConfig(
    LoggingSection,
    EvaluationSection,
    SavingSection,
    PrecisionSection,
    OptimizerSection,
    BatchSection,
    AdapterSection,
    PackingSection,
    MaskSection,
    DataSection,
    ModelSection,
):
    """Every setting of a run.

    Functions take the narrowest section they need, not this class. Made by `sft_schema.load_config`; nothing
    writes to it afterwards.
    """
