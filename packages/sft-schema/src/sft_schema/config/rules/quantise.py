"""Quantised base models."""

from __future__ import annotations

from sft_schema.config.quantise import BitsAndBytesSettings
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule


def _two_formats(cfg: SftConfig) -> Finding | None:
    if not (cfg.load_in_4bit and cfg.load_in_8bit):
        return None
    return Finding(("load_in_8bit",), "load_in_4bit and load_in_8bit contradict each other", "keep one of the two")


def _trained_in_few_bits(cfg: SftConfig) -> Finding | None:
    given = "load_in_4bit" if cfg.load_in_4bit else "load_in_8bit" if cfg.load_in_8bit else None
    if cfg.adapter is not None or given is None:
        return None
    message = f"weights in {given[8]} bits ({given}) cannot be trained themselves, and there is no adapter"
    kind = "qlora" if cfg.load_in_4bit else "lora"
    return Finding((given,), message, f"add `adapter: {kind}`, or remove {given} for full fine-tuning")


def _qlora_needs_4bit(cfg: SftConfig) -> Finding | None:
    if cfg.adapter != "qlora" or cfg.load_in_4bit:
        return None
    message = "qlora is an adapter on a base model in 4 bits, and the base model is not loaded so"
    return Finding(("adapter",), message, "add `load_in_4bit: true`, or write `adapter: lora`")


def _settings_without_use(cfg: SftConfig) -> Finding | None:
    prefix = "llm_int8_" if cfg.load_in_8bit else "bnb_4bit_" if cfg.load_in_4bit else "none"
    default = BitsAndBytesSettings()
    for name in BitsAndBytesSettings.model_fields:
        used = name.startswith(prefix) or (name == "llm_int8_skip_modules" and prefix != "none")
        if not used and getattr(cfg.bnb_config_kwargs, name) != getattr(default, name):
            how = {"none": "without load_in_4bit or load_in_8bit", "bnb_4bit_": "in 4 bits", "llm_int8_": "in 8 bits"}[
                prefix
            ]
            wanted = "load_in_8bit" if name.startswith("llm_int8_") else "load_in_4bit"
            message = f"{name} has no effect {how}"
            return Finding(("bnb_config_kwargs", name), message, f"remove it, or set `{wanted}: true`")
    return None


QUANTISATION_RULES: tuple[Rule, ...] = (
    Rule("two_quantisations", ("load_in_4bit", "load_in_8bit"), _two_formats),
    Rule("quantised_without_adapter", ("adapter", "load_in_4bit", "load_in_8bit"), _trained_in_few_bits),
    Rule("qlora_without_4bit", ("adapter", "load_in_4bit"), _qlora_needs_4bit),
    Rule("quantisation_unused", ("load_in_4bit", "load_in_8bit", "bnb_config_kwargs"), _settings_without_use),
)
