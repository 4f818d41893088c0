"""The base model."""

from __future__ import annotations

from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    PreTrainedModel,
    set_seed,
)

from sft_schema import ConfigError, Issue
from sft_schema.config import ModelSection
from sft_train.compute import Compute
from sft_train.model.attention import prepare_backend
from sft_train.model.quantise import settle_quantised


def load_model(
    cfg: ModelSection, seed: int, compute: Compute, quantised: BitsAndBytesConfig | None = None
) -> PreTrainedModel:
    """The base model in `compute.weights`, on the CPU; a quantised one on the device of this process.

    Args:
        cfg: which model, and which attention.
        seed: decides the weights when `reinit_weights` is set.
        compute: device and number format of the run.
        quantised: see `quantisation`; None quantises nothing.

    Returns:
        The model; weights come from safetensors files only.

    Raises:
        ConfigError: the model or its attention backend cannot be used.
    """
    prepare_backend(cfg.attn_implementation, compute)
    set_seed(seed)
    try:
        model, missing = _random(cfg, compute) if cfg.reinit_weights else _pretrained(cfg, compute, quantised)
    except (OSError, ValueError, ImportError) as error:
        fix = "give a hub id, or a folder with config.json and safetensors files"
        raise _refused(cfg, "model_not_loaded", f"{cfg.base_model!r} cannot be loaded: {error}", fix) from error
    if missing:
        shown = ", ".join(sorted(missing)[:5])
        message = f"{cfg.base_model!r} lacks {len(missing)} weights, such as {shown}: they would be random"
        raise _refused(cfg, "weights_missing", message, "use a complete model, or set `reinit_weights: true`")
    if getattr(model, "_hf_peft_config_loaded", False):
        message = f"{cfg.base_model!r} holds an adapter, not a model"
        raise _refused(cfg, "adapter_as_model", message, "merge the adapter into its model first")
    if quantised is not None:
        settle_quantised(model, quantised)
    return model


def _class_of(cfg: ModelSection) -> Any:
    """Whichever of transformers' classes has the parts that are trained: with pictures the vision tower too."""
    return AutoModelForCausalLM if cfg.processor_type is None else AutoModelForImageTextToText


def _random(cfg: ModelSection, compute: Compute) -> tuple[PreTrainedModel, set[str]]:
    config = AutoConfig.from_pretrained(
        cfg.base_model, revision=cfg.revision_of_model, trust_remote_code=cfg.trust_remote_code
    )
    model = _class_of(cfg).from_config(
        config,
        dtype=compute.weights,
        attn_implementation=cfg.attn_implementation,
        trust_remote_code=cfg.trust_remote_code,
    )
    return model, set()


def _pretrained(
    cfg: ModelSection, compute: Compute, quantised: BitsAndBytesConfig | None
) -> tuple[PreTrainedModel, set[str]]:
    loaded: tuple[PreTrainedModel, dict[str, Any]] = _class_of(cfg).from_pretrained(
        cfg.base_model,
        revision=cfg.revision_of_model,
        trust_remote_code=cfg.trust_remote_code,
        use_safetensors=True,  # the other format is a pickle, which can run code when read
        dtype=compute.weights,
        attn_implementation=cfg.attn_implementation,
        output_loading_info=True,
        **({} if quantised is None else {"quantization_config": quantised}),
    )
    model, info = loaded
    return model, set(info["missing_keys"])


def _refused(cfg: ModelSection, code: str, message: str, fix: str) -> ConfigError:
    return ConfigError([Issue(code, ("base_model",), message, fix)])
