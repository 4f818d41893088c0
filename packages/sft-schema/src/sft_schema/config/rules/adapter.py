"""The adapter and the weights that it is put on."""

from __future__ import annotations

import re

from sft_schema.config.adapter import split_rows
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule

_PEFT = tuple(key for key in SftConfig.model_fields if key.startswith("peft_"))


def _lora_settings_need_adapter(cfg: SftConfig) -> Finding | None:
    given = sorted(key for key in cfg.model_fields_set if key.startswith("lora_"))
    given += [key for key in _PEFT if getattr(cfg, key)]
    if cfg.adapter is not None or not given:
        return None
    message = f"{', '.join(given)} set, but no adapter is: all weights would be trained"
    return Finding((given[0],), message, "add `adapter: lora`, or remove these settings for full fine-tuning")


def _lora_targets(cfg: SftConfig) -> Finding | None:
    if cfg.adapter is None:
        return None
    if cfg.lora_target_linear and isinstance(cfg.lora_target_modules, str):
        message = "lora_target_linear and an expression in lora_target_modules both say which layers are adapted"
        return Finding(("lora_target_linear",), message, "keep one of the two, or list names of further layers")
    named = cfg.lora_target_linear or cfg.lora_target_modules or cfg.lora_target_parameters or cfg.lora_model_dir
    if not named:
        message = f"adapter: {cfg.adapter} names no layers to adapt"
        return Finding(("adapter",), message, "add `lora_target_linear: true` or `lora_target_modules: [...]`")
    return None


def _target_expression(cfg: SftConfig) -> Finding | None:
    if isinstance(cfg.lora_target_modules, str):
        try:
            re.compile(cfg.lora_target_modules)
        except re.error as error:
            message = f"{cfg.lora_target_modules!r} is not a regular expression: {error}"
            return Finding(("lora_target_modules",), message, "correct it, or list names of layers")
    return None


def _layer_adapted_and_saved(cfg: SftConfig) -> Finding | None:
    if isinstance(cfg.lora_target_modules, str):
        return None
    both = sorted({*cfg.lora_target_modules} & {*cfg.lora_modules_to_save})
    if not both:
        return None
    message = f"{', '.join(both)}: adapted by lora_target_modules and trained whole by lora_modules_to_save"
    return Finding(("lora_modules_to_save",), message, "name a layer in one of the two")


def _tensors_without_dropout(cfg: SftConfig) -> Finding | None:
    if not cfg.lora_target_parameters:
        return None
    if cfg.lora_dropout:
        message = f"lora_dropout {cfg.lora_dropout:g} cannot be applied to adapters on tensors (lora_target_parameters)"
        return Finding(("lora_dropout",), message, "set `lora_dropout: 0`")
    if cfg.peft_use_dora:
        message = "DoRA has no meaning for adapters on tensors (lora_target_parameters)"
        return Finding(("peft_use_dora",), message, "set `peft_use_dora: false`, or remove lora_target_parameters")
    return None


def _numbered_layers(cfg: SftConfig) -> Finding | None:
    if cfg.peft_layers_pattern and not cfg.peft_layers_to_transform:
        message = "peft_layers_pattern without peft_layers_to_transform chooses nothing"
        return Finding(("peft_layers_pattern",), message, "add `peft_layers_to_transform: [...]`, or remove it")
    if cfg.peft_layers_to_transform and (cfg.lora_target_linear or isinstance(cfg.lora_target_modules, str)):
        message = "peft_layers_to_transform counts layers of a list of names, and lora_target_modules is no list"
        fix = "list the names, such as `lora_target_modules: [q_proj, v_proj]`, or put the numbers into the expression"
        return Finding(("peft_layers_to_transform",), message, fix)
    return None


def _start_fits_base(cfg: SftConfig) -> Finding | None:
    start = cfg.peft_init_lora_weights
    if start is None:
        return None
    path = ("peft_init_lora_weights",)
    if cfg.lora_model_dir is not None:
        return Finding(path, "an adapter that is trained further (lora_model_dir) has its start already", "remove it")
    if start in ("pissa", "olora") and (cfg.load_in_4bit or cfg.load_in_8bit):
        message = f"{start} takes the adapter's start out of the base model's weights, which a quantised model has not"
        return Finding(path, message, "remove it, or load the base model in full precision")
    if start == "loftq" and not cfg.load_in_4bit:
        message = "loftq starts at what 4 bits have lost of the base model, which is not in 4 bits"
        return Finding(path, message, "set `adapter: qlora` and `load_in_4bit: true`, or remove it")
    if start == "loftq" and (cfg.peft_use_dora or cfg.lora_target_parameters):
        return Finding(path, "loftq is for LoRA on linear layers", "remove peft_use_dora and lora_target_parameters")
    if start == "orthogonal" and cfg.lora_r % 2:
        return Finding(path, f"orthogonal needs an even lora_r, not {cfg.lora_r}", f"set `lora_r: {cfg.lora_r + 1}`")
    return None


def _some_weights(cfg: SftConfig) -> Finding | None:
    if not cfg.unfrozen_parameters:
        return None
    if cfg.adapter is not None:
        message = (
            "unfrozen_parameters says which weights full fine-tuning trains, and an adapter leaves them as they are"
        )
        fix = "name layers in `lora_modules_to_save`, or remove `adapter`"
        return Finding(("unfrozen_parameters",), message, fix)
    for index, text in enumerate(cfg.unfrozen_parameters):
        pattern, rows = split_rows(text)
        try:
            re.compile(pattern)
        except re.error as error:
            message = f"{text!r} is not a regular expression: {error}"
            return Finding(("unfrozen_parameters", index), message, "correct it")
        if rows is not None and cfg.weight_decay:
            message = f"weight_decay {cfg.weight_decay:g} would shrink the rows that {text!r} leaves out"
            return Finding(("weight_decay",), message, "set `weight_decay: 0`, or remove the range of rows")
    return None


def _tokens(cfg: SftConfig) -> Finding | None:
    other = "adapter" if cfg.adapter is not None else "processor_type" if cfg.processor_type is not None else None
    if not cfg.tokens:
        return None
    if len(set(cfg.tokens)) < len(cfg.tokens) or not all(cfg.tokens):
        return Finding(("tokens",), "a token is empty or there twice", "write each of them once")
    if other is None:
        return None
    message = f"tokens gives the model new rows, and with {other} its embedding stays as it is"
    fix = "train all weights, or add the tokens to the base model beforehand and name it in `base_model`"
    return Finding(("tokens",), message, fix)


def _reinit_with_adapter(cfg: SftConfig) -> Finding | None:
    if not (cfg.reinit_weights and cfg.adapter):
        return None
    message = "an adapter on random weights (reinit_weights) learns nothing useful"
    return Finding(("reinit_weights",), message, "remove `adapter`, or start from trained weights")


ADAPTER_RULES: tuple[Rule, ...] = (
    Rule("lora_without_adapter", ("adapter", *_PEFT), _lora_settings_need_adapter),
    Rule(
        "lora_targets",
        ("adapter", "lora_target_linear", "lora_target_modules", "lora_target_parameters", "lora_model_dir"),
        _lora_targets,
    ),
    Rule("lora_target_expression", ("lora_target_modules",), _target_expression),
    Rule("lora_layer_twice", ("lora_target_modules", "lora_modules_to_save"), _layer_adapted_and_saved),
    Rule("lora_on_tensors", ("lora_target_parameters", "lora_dropout", "peft_use_dora"), _tensors_without_dropout),
    Rule(
        "lora_numbered_layers",
        ("peft_layers_pattern", "peft_layers_to_transform", "lora_target_linear", "lora_target_modules"),
        _numbered_layers,
    ),
    Rule(
        "lora_start",
        (
            "peft_init_lora_weights",
            "lora_model_dir",
            "load_in_4bit",
            "load_in_8bit",
            "lora_r",
            "peft_use_dora",
            "lora_target_parameters",
        ),
        _start_fits_base,
    ),
    Rule("unfrozen_weights", ("unfrozen_parameters", "adapter", "weight_decay"), _some_weights),
    Rule("adapter_on_random_weights", ("reinit_weights", "adapter"), _reinit_with_adapter),
    Rule("new_tokens", ("tokens", "adapter", "processor_type"), _tokens),
)
