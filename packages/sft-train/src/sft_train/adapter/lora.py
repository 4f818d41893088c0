"""LoRA (Hu et al. 2021, arXiv 2106.09685) through peft."""

from __future__ import annotations

from collections.abc import Iterable

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sft_schema import ConfigError, Issue
from sft_schema.config import AdapterSection


def add_adapter(model: PreTrainedModel, cfg: AdapterSection) -> PreTrainedModel | PeftModel:
    """The model with the config's adapter; the model itself when there is none.

    Args:
        model: the bare model. With an adapter its own weights are frozen.
        cfg: rank, scale, dropout, and which layers.

    Raises:
        ConfigError: a name matches no layer, or a layer that cannot be adapted.
    """
    if cfg.adapter is None:
        return model
    modules = dict(model.named_modules())
    _check_names(cfg.lora_target_modules, modules, "lora_target_modules", _linear_names(modules))
    _check_names(cfg.lora_modules_to_save, modules, "lora_modules_to_save", _last_names(modules))
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=cfg.lora_r,
        lora_alpha=cfg.lora_alpha,
        lora_dropout=cfg.lora_dropout,
        target_modules="all-linear" if cfg.lora_target_linear else list(cfg.lora_target_modules),
        modules_to_save=list(cfg.lora_modules_to_save) or None,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        names = ", ".join(_linear_names(modules))
        issue = Issue("lora_target", ("lora_target_modules",), str(error), f"choose from {names}")
        raise ConfigError([issue]) from error


def _check_names(names: Iterable[str], modules: dict[str, nn.Module], setting: str, known: list[str]) -> None:
    issues = [
        Issue("no_such_layer", (setting, index), f"no layer is called {name!r}", f"choose from {', '.join(known)}")
        for index, name in enumerate(names)
        if not any(full == name or full.endswith(f".{name}") for full in modules)
    ]
    if issues:
        raise ConfigError(issues)


def _linear_names(modules: dict[str, nn.Module]) -> list[str]:
    return _last_names({name: each for name, each in modules.items() if isinstance(each, nn.Linear | Conv1D)})


def _last_names(modules: dict[str, nn.Module]) -> list[str]:
    """Last parts of the layers' names, without the numbers of lists of layers."""
    parts = {name.rpartition(".")[2] for name in modules}
    return sorted(part for part in parts if part and not part.isdigit())
