"""Which layers an adapter goes on: names are checked against the model before peft sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sft_schema import ConfigError, Issue
from sft_schema.config import AdapterSection

_NUMBER = re.compile(r"\.(\d+)\.")


def check_targets(model: PreTrainedModel, cfg: AdapterSection) -> None:
    """Refuses names, expressions and layer numbers that match nothing in the model.

    Args:
        model: the bare model.
        cfg: which layers and tensors.

    Raises:
        ConfigError: with an issue for each, and the names that exist.
    """
    modules = dict(model.named_modules())
    linear = linear_names(modules)
    issues: list[Issue] = []
    if isinstance(cfg.lora_target_modules, str):
        issues += _unmatched(cfg.lora_target_modules, modules)
    else:
        issues += _missing(cfg.lora_target_modules, modules, "lora_target_modules", linear)
    tensors = {name: each for name, each in model.named_parameters() if each.ndim > 1}
    known = _last_names({name: each for name, each in tensors.items() if name.rpartition(".")[2] != "weight"}, 2)
    issues += _missing(cfg.lora_target_parameters, tensors, "lora_target_parameters", known)
    issues += _missing(cfg.lora_modules_to_save, modules, "lora_modules_to_save", _last_names(modules))
    layers = sorted({int(number) for name in modules for number in _NUMBER.findall(name)})
    issues += [
        Issue(
            "no_such_layer",
            ("peft_layers_to_transform", index),
            f"there is no layer {number}",
            f"choose from {layers[0]} to {layers[-1]}" if layers else "remove it: the model has no numbered layers",
        )
        for index, number in enumerate(cfg.peft_layers_to_transform)
        if number not in layers
    ]
    if issues:
        raise ConfigError(issues)


def linear_names(modules: dict[str, nn.Module]) -> list[str]:
    """Last parts of the names of layers that can be adapted. Quantised ones are linear layers too."""
    return _last_names({name: each for name, each in modules.items() if isinstance(each, nn.Linear | Conv1D)})


def _unmatched(expression: str, modules: dict[str, nn.Module]) -> list[Issue]:
    """An issue when the expression matches the whole path of no layer, which is how peft reads it."""
    if any(re.fullmatch(expression, name) for name in modules):
        return []
    paths = [name for name, each in modules.items() if isinstance(each, nn.Linear | Conv1D)]
    near = get_close_matches(expression, paths, n=3, cutoff=0) or paths[:3]
    message = f"{expression!r} matches the whole path of no layer"
    return [Issue("no_such_layer", ("lora_target_modules",), message, f"paths are such as {', '.join(near)}")]


def _missing(names: Iterable[str], present: Iterable[str], setting: str, known: list[str]) -> list[Issue]:
    full = tuple(present)
    return [
        Issue("no_such_layer", (setting, index), f"no layer is called {name!r}", f"{_near(name, known)}")
        for index, name in enumerate(names)
        if not any(each == name or each.endswith(f".{name}") for each in full)
    ]


def _near(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"{meant}choose from {', '.join(known)}" if known else "remove it: the model has none"


def _last_names(paths: Iterable[str], parts: int = 1) -> list[str]:
    """Last parts of names, without the numbers of lists of layers."""
    cut = {".".join(name.split(".")[-parts:]) for name in paths}
    return sorted(part for part in cut if part and not part.isdigit())
