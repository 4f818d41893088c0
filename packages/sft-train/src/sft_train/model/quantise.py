"""Base models in 4 or 8 bits, through bitsandbytes."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from sft_schema import ConfigError, Issue
from sft_schema.config import QuantisationSection
from sft_train.compute import Compute
from sft_train.optional import require_bitsandbytes

_DTYPES = {
    "uint8": torch.uint8,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


def quantisation(cfg: QuantisationSection, compute: Compute) -> BitsAndBytesConfig | None:
    """What the base model's linear layers become when it is loaded; None leaves them as they are.

    The rest is loaded as in other runs: norms, embeddings, the head, and what `llm_int8_skip_modules`
    names. So nothing is left to do of what peft's `prepare_model_for_kbit_training` does: it casts these to
    float32, freezes the model (as every adapter does), and makes inputs require gradients for re-entrant
    checkpointing, which is not used here.

    Args:
        cfg: number of bits, and the details.
        compute: what the run computes in, which products with 4-bit weights follow.

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    if not (cfg.load_in_4bit or cfg.load_in_8bit):
        return None
    require_bitsandbytes("load_in_4bit" if cfg.load_in_4bit else "load_in_8bit")
    settings = cfg.bnb_config_kwargs
    # It says at every product that it computes in float16, which is what it is for.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    return BitsAndBytesConfig(
        load_in_4bit=cfg.load_in_4bit,
        load_in_8bit=cfg.load_in_8bit,
        bnb_4bit_quant_type=settings.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=settings.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=_DTYPES[settings.bnb_4bit_compute_dtype or ("bfloat16" if compute.bf16 else "float32")],
        bnb_4bit_quant_storage=_DTYPES[settings.bnb_4bit_quant_storage],
        llm_int8_threshold=settings.llm_int8_threshold,
        # A list of one's own replaces transformers', which keeps the head.
        llm_int8_skip_modules=[*settings.llm_int8_skip_modules, "lm_head"] if settings.llm_int8_skip_modules else None,
    )


def settle_quantised(model: PreTrainedModel, wanted: BitsAndBytesConfig) -> None:
    """Makes a model that was loaded with `wanted` ready for training.

    bitsandbytes packs 4-bit weights in another order when they are first used for evaluation on a CPU with
    AVX512-bf16, and keeps them so: no gradient passes through such a layer afterwards (bitsandbytes 0.50), and
    adapters below it would learn nothing. So its layers are told not to.

    Args:
        model: changed in place.
        wanted: see `quantisation`.

    Raises:
        ConfigError: nothing was quantised.
    """
    kind = "Linear4bit" if wanted.load_in_4bit else "Linear8bitLt"
    layers: list[Any] = [each for each in model.modules() if type(each).__name__ == kind]
    if not layers:
        setting = "load_in_4bit" if wanted.load_in_4bit else "load_in_8bit"
        message = f"{type(model).__name__} has no linear layer that could be quantised"
        raise ConfigError([Issue("nothing_quantised", (setting,), message, f"set `{setting}: false`")])
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False


def quantised_layers(folder: Path, wanted: BitsAndBytesConfig) -> set[str]:
    """Names of the linear layers that a model loaded with `wanted` has in 4 or 8 bits; no weight is read.

    Args:
        folder: of the model, with config.json.
        wanted: see `quantisation`.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    head = model.get_output_embeddings()
    skipped = wanted.llm_int8_skip_modules or []
    return {
        name
        for name, each in model.named_modules()
        if isinstance(each, nn.Linear) and each is not head and not _is_skipped(name, skipped)
    }


def _is_skipped(name: str, patterns: list[str]) -> bool:
    """As transformers decides: the beginning of the name up to a dot, or its end."""
    return any(re.match(rf"(?:{each})(?:(?<=\.)|(?=\.|$))", name) or name.endswith(each) for each in patterns)


def weights_of(parameter: nn.Parameter) -> int:
    """How many weights a parameter holds: 4-bit ones are packed, and those of ZeRO 3 are elsewhere (`ds_numel`)."""
    state = getattr(parameter, "quant_state", None)
    return getattr(parameter, "ds_numel", parameter.numel()) if state is None else math.prod(state.shape)


def embedded_ids(model: PreTrainedModel) -> int:
    """How many ids a model embeds, also where ZeRO 3 has left an empty tensor in the place of the weights."""
    weight: Any = model.get_input_embeddings().weight
    return int(getattr(weight, "ds_shape", weight.shape)[0])
