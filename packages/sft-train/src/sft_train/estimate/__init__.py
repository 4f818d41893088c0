"""What a run needs and how fast it can be, from numbers alone: no weight is read and torch is not imported."""

from sft_train.estimate.layout import Device, Layout
from sft_train.estimate.memory import Memory, estimate_memory
from sft_train.estimate.plan import Plan, plan_of
from sft_train.estimate.shape import ModelShape, read_shape
from sft_train.estimate.step import Step, estimate_step

__all__ = [
    "Device",
    "Layout",
    "Memory",
    "ModelShape",
    "Plan",
    "Step",
    "estimate_memory",
    "estimate_step",
    "plan_of",
    "read_shape",
]
