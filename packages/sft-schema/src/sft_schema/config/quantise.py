"""Base models with few bits per weight, as adapters are trained on."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class BitsAndBytesSettings(Section):
    """How bitsandbytes keeps the base model's weights (Dettmers et al. 2023, arXiv 2305.14314)."""

    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting("The sixteen values that a 4-bit weight can have.", "nf4")
    bnb_4bit_use_double_quant: bool = setting("Quantise the scales of the 4-bit blocks too.", True)
    bnb_4bit_compute_dtype: Literal["float32", "bfloat16"] | None = setting(
        "Number format of products with 4-bit weights; absent means what the run computes in (`bf16`).", None
    )
    bnb_4bit_quant_storage: Literal["uint8", "bfloat16", "float16", "float32"] = setting(
        "Number format that the packed 4-bit weights are stored as; it changes no result.", "uint8"
    )
    llm_int8_threshold: float = setting("Inputs above this size skip the 8-bit product.", 6.0, ge=0)
    llm_int8_skip_modules: tuple[str, ...] = setting("Layers that stay in float32, besides the head.", ())


class QuantisationSection(Section):
    """Weights of the base model in 4 or 8 bits, through bitsandbytes. They are never trained: an adapter is."""

    load_in_4bit: bool = setting("Keep the base model's linear layers in 4 bits.", False)
    load_in_8bit: bool = setting("Keep the base model's linear layers in 8 bits.", False)
    bnb_config_kwargs: BitsAndBytesSettings = setting("How the weights are quantised.", BitsAndBytesSettings)
