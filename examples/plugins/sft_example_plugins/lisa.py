"""LISA (Pan et al. 2024, arXiv 2403.17919): the embedding, the head and a few layers, drawn anew now and then."""

from __future__ import annotations

import random
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainerControl, TrainerState, TrainingArguments

from sft_example_plugins.layers import decoder_layers
from sft_schema import ConfigError, Issue
from sft_schema.config import Section
from sft_train.plugin import TrainingPlugin


class LisaSettings(Section):
    """How many layers are trained at a time, and for how many steps."""

    layers: int = 2
    every: int = 20


class Lisa(TrainingPlugin):
    """Which layers are trained depends on (seed, step) alone, so a resumed run draws the same ones.

    Frozen layers have no gradients, and lose their optimizer state when they are frozen.
    """

    Settings = LisaSettings

    def change_model(self, model: nn.Module) -> None:
        """Looks whether the settings fit the model. Layers are frozen when the optimizer knows all of them."""
        count = len(decoder_layers(model, "lisa"))
        if self.cfg.adapter is not None:
            raise _refused("layers of an adapter are not frozen by turns", "remove `adapter`")
        if not 0 < self.settings.layers <= count or self.settings.every < 1:
            raise _refused(f"{self.settings.layers} layers of {count}", f"choose `layers` from 1 to {count}")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freezes all layers but those of this step."""
        layers, optimizer = decoder_layers(kwargs["model"], "lisa"), kwargs["optimizer"]
        turn = state.global_step // self.settings.every
        drawn = random.Random(f"{self.cfg.seed} {turn}").sample(range(len(layers)), self.settings.layers)
        for number, layer in enumerate(layers):
            for weight in layer.parameters():
                weight.requires_grad_(number in drawn)
                if number not in drawn:
                    _forget(optimizer, weight)


def _forget(optimizer: Optimizer, weight: nn.Parameter) -> None:
    weight.grad = None
    getattr(optimizer, "optimizer", optimizer).state.pop(weight, None)


def _refused(message: str, fix: str) -> ConfigError:
    return ConfigError([Issue("lisa", ("training_plugins", "lisa"), message, fix)])
