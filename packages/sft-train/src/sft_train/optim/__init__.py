"""Optimizers, their groups of weights, and learning-rate schedules."""

from sft_train.optim.build import build_optimizer
from sft_train.optim.groups import parameter_groups
from sft_train.optim.muon import MuonWithAdamW
from sft_train.optim.schedule import build_schedule

__all__ = ["MuonWithAdamW", "build_optimizer", "build_schedule", "parameter_groups"]
