"""Plug-ins that take a hand in training: which weights are trained, the optimizer, the loss, and what happens beside.

A distribution offers a `TrainingPlugin` class through an entry point:

    [project.entry-points."sft.training"]
    lisa = "my_package:Lisa"

and the config names it with its settings: `training_plugins: {lisa: {layers: 2}}`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, ClassVar

from pydantic import ValidationError
from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback

from sft_schema import ConfigError, Issue, SftConfig
from sft_schema.config import Section
from sft_schema.plugin import Registry
from sft_train.loss import SummedLoss

PLUGINS: Registry[type[TrainingPlugin]] = Registry("sft.training", {}, setting="training_plugins")


class NoSettings(Section):
    """Of a plug-in that has none."""


class TrainingPlugin(TrainerCallback):
    """A part of a run. It overrides what it needs; all events of transformers' callbacks are among that.

    One with a state of its own is an `ExportableState` too: checkpoints then keep it, under the name of its class.

    Args:
        cfg: the whole config.
        settings: the plug-in's own.

    Attributes:
        Settings: class of its settings, with defaults; values of another type and unknown keys are refused.
    """

    Settings: ClassVar[type[Section]] = NoSettings

    def __init__(self, cfg: SftConfig, settings: Any) -> None:
        self.cfg, self.settings = cfg, settings

    def change_model(self, model: nn.Module) -> None:
        """Changes the model in place before training, after the adapter is on: which weights are trained, say.

        Raises:
            ConfigError: the plug-in does not fit the model or the config.
        """

    def optimizer(self, model: nn.Module, decayed: Collection[str]) -> Optimizer | None:
        """An optimizer in place of the config's, or None.

        Args:
            model: bare or with an adapter.
            decayed: names of the weights that decay.
        """
        return None

    def loss(self, summed: SummedLoss) -> SummedLoss:
        """The loss of a batch in training and evaluation, made from the usual one."""
        return summed


def training_plugins(cfg: SftConfig) -> list[TrainingPlugin]:
    """The plug-ins that a config names, in its order.

    Raises:
        ConfigError: nobody offers one, or its settings are wrong.
    """
    return [_made(name, values, cfg) for name, values in cfg.training_plugins.items()]


def _made(name: str, values: dict[str, Any], cfg: SftConfig) -> TrainingPlugin:
    path = ("training_plugins", name)
    kind = PLUGINS.find(name, path)
    if not (isinstance(kind, type) and issubclass(kind, TrainingPlugin)):
        message = f"{name!r} is {kind!r}, which is no class of TrainingPlugin"
        raise ConfigError([Issue("not_a_plugin", path, message, "mend the distribution that offers it")])
    try:
        settings = kind.Settings.model_validate_json(json.dumps(values))
    except ValidationError as error:
        known = ", ".join(kind.Settings.model_fields) or "none"
        issues = [
            Issue("plugin_setting", (*path, *each["loc"]), f"{each['msg']}: {each['input']!r}", f"{name} has: {known}")
            for each in error.errors()
        ]
        raise ConfigError(issues) from error
    return kind(cfg, settings)


def chosen_optimizer(callbacks: list[TrainerCallback], model: nn.Module, decayed: Collection[str]) -> Optimizer | None:
    """The optimizer of the one plug-in that has one.

    Raises:
        ConfigError: several have.
    """
    plugins = [each for each in callbacks if isinstance(each, TrainingPlugin)]
    found = [(each, made) for each in plugins if (made := each.optimizer(model, decayed)) is not None]
    if len(found) > 1:
        names = " and ".join(type(each).__name__ for each, _ in found)
        raise ConfigError([Issue("two_optimizers", ("training_plugins",), f"{names} each bring one", "keep one")])
    return found[0][1] if found else None


def changed_loss(callbacks: list[TrainerCallback], summed: SummedLoss) -> SummedLoss:
    """The loss after each plug-in had it in turn."""
    for each in callbacks:
        if isinstance(each, TrainingPlugin):
            summed = each.loss(summed)
    return summed
