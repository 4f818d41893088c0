"""LoRA (Hu et al. 2021, arXiv 2106.09685) and its variants through peft."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from sft_schema import ConfigError, Issue
from sft_schema.config import AdapterSection
from sft_train.adapter.further import train_further
from sft_train.adapter.targets import check_targets, linear_names


def add_adapter(model: PreTrainedModel, cfg: AdapterSection) -> PreTrainedModel | PeftModel:
    """The model with the config's adapter; the model itself when there is none.

    Args:
        model: the bare model, possibly quantised. With an adapter its own weights are frozen.
        cfg: rank, scale, dropout, which layers, how it starts, or the adapter to train further.

    Raises:
        ConfigError: a name matches no layer, or a layer that cannot be adapted.
    """
    if cfg.adapter is None:
        return model
    check_targets(model, cfg)
    if cfg.lora_model_dir is not None:
        return train_further(model, cfg)
    try:
        return get_peft_model(model, _config(model, cfg))  # pyright: ignore[reportReturnType]
    except (ValueError, TypeError) as error:
        names = ", ".join(linear_names(dict(model.named_modules())))
        issue = Issue("lora_target", ("lora_target_modules",), str(error), f"choose from {names}")
        raise ConfigError([issue]) from error


def _config(model: PreTrainedModel, cfg: AdapterSection) -> LoraConfig:
    start: Any = cfg.peft_init_lora_weights
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=cfg.lora_r,
        lora_alpha=cfg.lora_alpha,
        lora_dropout=cfg.lora_dropout,
        target_modules=_targets(model, cfg),
        target_parameters=list(cfg.lora_target_parameters) or None,
        modules_to_save=list(cfg.lora_modules_to_save) or None,
        use_dora=cfg.peft_use_dora,
        use_rslora=cfg.peft_use_rslora,
        init_lora_weights=True if start in (None, "loftq") else start,  # see `start_at_lost_part`
        layers_to_transform=list(cfg.peft_layers_to_transform) or None,
        layers_pattern=list(cfg.peft_layers_pattern) or None,
        ensure_weight_tying=_saves_tied(model, cfg.lora_modules_to_save),
    )


def _targets(model: PreTrainedModel, cfg: AdapterSection) -> str | list[str]:
    """Names of the layers to adapt, or an expression, as peft takes them."""
    if isinstance(cfg.lora_target_modules, str):
        return cfg.lora_target_modules
    if not cfg.lora_target_linear:
        return [*cfg.lora_target_modules]
    if not cfg.lora_target_modules:
        return "all-linear"
    head = model.get_output_embeddings()
    modules = {path: each for path, each in model.named_modules() if each is not head}
    return sorted({*linear_names(modules), *cfg.lora_target_modules})


def _saves_tied(model: PreTrainedModel, names: tuple[str, ...]) -> bool:
    """Whether one of the layers shares its weights with another, as an embedding does with a tied head.

    peft would train a copy of it, and leave the other as it was: two layers where the model's config knows one.
    """
    if not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return False
    tied = (model.get_input_embeddings(), model.get_output_embeddings())
    paths = [path for path, each in model.named_modules() if any(each is one for one in tied)]
    return any(path == name or path.endswith(f".{name}") for path in paths for name in names)
