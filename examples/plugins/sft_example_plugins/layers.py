"""The decoder layers of a model."""

from __future__ import annotations

from torch import nn

from sft_schema import ConfigError, Issue


def decoder_layers(model: nn.Module, plugin: str) -> nn.ModuleList:
    """The longest list of layers in a model.

    Raises:
        ConfigError: it has none.
    """
    found = [each for each in model.modules() if isinstance(each, nn.ModuleList)]
    if not found:
        message = f"{type(model).__name__} has no list of layers"
        raise ConfigError([Issue("no_layers", ("training_plugins", plugin), message, f"remove {plugin}")])
    return max(found, key=len)
