"""The adapter and the weights that it is put on."""

from __future__ import annotations

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule


def _lora_settings_need_adapter(cfg: SftConfig) -> Finding | None:
    given = sorted(key for key in cfg.model_fields_set if key.startswith("lora_"))
    if cfg.adapter is not None or not given:
        return None
    message = f"{', '.join(given)} set, but no adapter is: all weights would be trained"
    return Finding((given[0],), message, "add `adapter: lora`, or remove the lora_ settings for full fine-tuning")


def _lora_targets(cfg: SftConfig) -> Finding | None:
    if cfg.adapter is None:
        return None
    if cfg.lora_target_linear and cfg.lora_target_modules:
        message = "lora_target_linear and lora_target_modules both say which layers are adapted"
        return Finding(("lora_target_linear",), message, "keep one of the two")
    if not cfg.lora_target_linear and not cfg.lora_target_modules:
        message = "adapter: lora names no layers to adapt"
        return Finding(("adapter",), message, "add `lora_target_linear: true` or `lora_target_modules: [...]`")
    return None


def _layer_adapted_and_saved(cfg: SftConfig) -> Finding | None:
    both = sorted({*cfg.lora_target_modules} & {*cfg.lora_modules_to_save})
    if not both:
        return None
    message = f"{', '.join(both)}: adapted by lora_target_modules and trained whole by lora_modules_to_save"
    return Finding(("lora_modules_to_save",), message, "name a layer in one of the two")


def _reinit_with_adapter(cfg: SftConfig) -> Finding | None:
    if not (cfg.reinit_weights and cfg.adapter):
        return None
    message = "an adapter on random weights (reinit_weights) learns nothing useful"
    return Finding(("reinit_weights",), message, "remove `adapter`, or start from trained weights")


ADAPTER_RULES: tuple[Rule, ...] = (
    Rule("lora_without_adapter", ("adapter",), _lora_settings_need_adapter),
    Rule("lora_targets", ("adapter", "lora_target_linear", "lora_target_modules"), _lora_targets),
    Rule("lora_layer_twice", ("lora_target_modules", "lora_modules_to_save"), _layer_adapted_and_saved),
    Rule("adapter_on_random_weights", ("reinit_weights", "adapter"), _reinit_with_adapter),
)
