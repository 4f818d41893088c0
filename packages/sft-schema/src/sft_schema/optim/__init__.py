"""Optimizers and learning-rate schedules as tables: what each one is called, reads and needs."""

from sft_schema.optim.argument import Argument, argument_problem
from sft_schema.optim.optimizer import OPTIMIZERS, Optimizer, OptimizerName
from sft_schema.optim.schedule import SCHEDULES, Schedule, ScheduleName

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Argument",
    "Optimizer",
    "OptimizerName",
    "Schedule",
    "ScheduleName",
    "argument_problem",
]
