"""What is trained: all weights, some of them, or a small adapter."""

from __future__ import annotations

import re
from typing import Literal

from sft_schema.config.section import Section, setting

_ROWS = re.compile(r"\[(\d*):(\d*)\]$")
"""At the end of a name in `unfrozen_parameters`: the rows of the weight that are trained."""


def split_rows(text: str) -> tuple[str, tuple[int, int | None] | None]:
    """An item of `unfrozen_parameters`: its regular expression, and first and end row (None: to the last) if given.

    Dots of the expression stand for dots, as in axolotl, unless a quantifier or a backslash makes them wild.
    """
    match = _ROWS.search(text)
    pattern = re.sub(r"(?<!\\)\.(?![*+?{])", r"\\.", text[: match.start()] if match else text)
    if match is None:
        return pattern, None
    return pattern, (int(match[1] or 0), int(match[2]) if match[2] else None)


class AdapterSection(Section):
    """LoRA (Hu et al. 2021, arXiv 2106.09685), or full fine-tuning when `adapter` is absent."""

    adapter: Literal["lora", "qlora"] | None = setting(
        "Kind of adapter, `qlora` being `lora` on a 4-bit base model; absent means full fine-tuning.", None
    )
    lora_r: int = setting("Rank of the adapter.", 16, ge=1)
    lora_alpha: int = setting("Scale of the adapter's output is lora_alpha / lora_r.", 32, ge=1)
    lora_dropout: float = setting("Dropout on the adapter's input.", 0.0, ge=0, lt=1)
    lora_target_modules: tuple[str, ...] | str = setting(
        "Names of the layers that get an adapter, besides those of `lora_target_linear`; or a regular expression for "
        "their whole path.",
        (),
    )
    lora_target_linear: bool = setting("Adapt every linear layer but the head.", False)
    lora_target_parameters: tuple[str, ...] = setting(
        "Names of tensors outside of linear layers, such as a mixture's experts, that get an adapter.", ()
    )
    lora_modules_to_save: tuple[str, ...] = setting("Layers trained and saved whole.", ())
    lora_model_dir: str | None = setting("Folder or hub id of an adapter to train further.", None, min_length=1)
    peft_use_dora: bool = setting("Train size and direction of a weight apart (DoRA, arXiv 2402.09353).", False)
    peft_use_rslora: bool = setting("Scale by lora_alpha / sqrt(lora_r) (rsLoRA, arXiv 2312.03732).", False)
    peft_init_lora_weights: Literal["gaussian", "orthogonal", "pissa", "olora", "loftq"] | None = setting(
        "How the adapter starts; absent means A random and B zero.", None
    )
    peft_layers_to_transform: tuple[int, ...] = setting("Numbers of the decoder layers that are adapted; all.", ())
    peft_layers_pattern: tuple[str, ...] = setting(
        "Names of the lists that `peft_layers_to_transform` counts in, when the model's is not found.", ()
    )
    unfrozen_parameters: tuple[str, ...] = setting(
        "Regular expressions for the names of the weights that full fine-tuning trains; the others stay as they are.",
        (),
    )
