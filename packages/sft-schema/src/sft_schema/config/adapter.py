"""What is trained: all weights or a small adapter."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class AdapterSection(Section):
    """LoRA (Hu et al. 2021, arXiv 2106.09685), or full fine-tuning when `adapter` is absent."""

    adapter: Literal["lora"] | None = setting("Kind of adapter; absent means full fine-tuning.", None)
    lora_r: int = setting("Rank of the adapter.", 16, ge=1)
    lora_alpha: int = setting("Scale of the adapter's output is lora_alpha / lora_r.", 32, ge=1)
    lora_dropout: float = setting("Dropout on the adapter's input.", 0.0, ge=0, lt=1)
    lora_target_modules: tuple[str, ...] = setting("Names of the layers that get an adapter.", ())
    lora_target_linear: bool = setting("Adapt every linear layer but the head.", False)
    lora_modules_to_save: tuple[str, ...] = setting("Layers trained and saved whole.", ())
