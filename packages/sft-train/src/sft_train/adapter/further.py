"""An adapter that exists already, trained further."""

from __future__ import annotations

from typing import Any

from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel

from sft_schema import ConfigError, Issue
from sft_schema.config import AdapterSection

_SAME = {
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "peft_use_dora": "use_dora",
    "peft_use_rslora": "use_rslora",
}
"""Settings that are part of the adapter, and peft's names of them."""
_NAMES = {
    "lora_target_modules": "target_modules",
    "lora_target_parameters": "target_parameters",
    "lora_modules_to_save": "modules_to_save",
}
"""The same for lists of names, which may also be left to the adapter."""


def train_further(model: PreTrainedModel, cfg: AdapterSection) -> PeftModel:
    """The model with the adapter of `lora_model_dir`, ready to be trained.

    Args:
        model: the bare model.
        cfg: must agree with the adapter; `lora_dropout` alone may be another.

    Raises:
        ConfigError: there is no adapter, or it is not what the config says.
    """
    folder = cfg.lora_model_dir
    assert folder is not None, "called for an adapter that exists"
    try:
        config: Any = PeftConfig.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        message, fix = f"{folder!r} holds no adapter: {error}", "give the `output_dir` of a run with an adapter"
        raise ConfigError([Issue("adapter_not_loaded", ("lora_model_dir",), message, fix)]) from error
    if config.peft_type != "LORA":
        message = f"{folder!r} holds an adapter of the kind {config.peft_type}, not LORA"
        raise ConfigError([Issue("adapter_not_loaded", ("lora_model_dir",), message, "choose a LoRA adapter")])
    if issues := _differences(cfg, config):
        raise ConfigError(issues)
    config.lora_dropout = cfg.lora_dropout
    try:
        return PeftModel.from_pretrained(model, folder, config=config, is_trainable=True)
    except (OSError, ValueError, RuntimeError) as error:
        message = f"the adapter of {folder!r} does not fit the base model: {error}"
        fix = f"set `base_model` to the adapter's own, {config.base_model_name_or_path}"
        raise ConfigError([Issue("adapter_not_loaded", ("lora_model_dir",), message, fix)]) from error


def _differences(cfg: AdapterSection, config: Any) -> list[Issue]:
    pairs = [(ours, getattr(cfg, ours), getattr(config, theirs)) for ours, theirs in _SAME.items()]
    pairs += [
        (ours, _plain(getattr(cfg, ours)), _plain(getattr(config, theirs)))
        for ours, theirs in _NAMES.items()
        if getattr(cfg, ours)
    ]
    return [
        Issue(
            "adapter_differs",
            (name,),
            f"{name} is {wanted!r}, and {found!r} in the adapter of {cfg.lora_model_dir}",
            f"set `{name}: {str(found).lower() if isinstance(found, bool) else found}`, or begin a new adapter",
        )
        for name, wanted, found in pairs
        if wanted != found
    ]


def _plain(names: Any) -> Any:
    return names if isinstance(names, str) or names is None else sorted(names)
