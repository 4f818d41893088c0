"""Whether a merged model is the one that was trained: the same outputs, tokenizer and stop tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig

from sft_train.export.adapter import Adapter
from sft_train.export.base import BaseFiles
from sft_train.model import settle_quantised

_LENGTH, _TEXTS = 48, 4
_TEXT = "Hello! How many days has a year?\n\tГод, 年, été: 365 <|x|>"
_EXACT, _ROUNDED, _INT8 = 1e-4, 5e-2, 1e-1
"""Largest difference allowed, as a part of the largest logit: of float32 weights, of weights stored in 16 bits, and of
an 8-bit model, which rounds its inputs too."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The comparison.

    Attributes:
        difference: largest difference of logits between adapter and merged model, as a part of the largest logit.
        allowed: how large it may be.
        effect: the same between adapter and base model: what a merge that did nothing would differ by.
        agreement: part of positions with the same most likely token.
        mismatches: what else is not the same.
    """

    difference: float
    allowed: float
    effect: float
    agreement: float
    mismatches: tuple[str, ...]

    @property
    def same(self) -> bool:
        """The merged model may be used in place of the adapter."""
        return self.difference <= self.allowed and not self.mismatches


def verify_merge(
    adapter: Adapter, base: BaseFiles, merged: Path, quantised: BitsAndBytesConfig | None = None
) -> Verification:
    """Runs base model, adapter and merged model on the same tokens, one model in memory at a time.

    Args:
        adapter: as merged.
        base: its base model.
        merged: folder of the merged model.
        quantised: as for `merge_adapter`.
    """
    ids = _tokens(base)
    with torch.no_grad():
        model = _loaded(base.folder, quantised)
        bare = model(ids).logits.float()
        trained = PeftModel.from_pretrained(model, str(adapter.folder)).eval()(ids).logits.float()
        del model
        found = _loaded(merged, None)(ids).logits.float()
    return Verification(
        difference=_apart(found, trained),
        allowed=_allowed(base, quantised),
        effect=_apart(bare, trained),
        agreement=float((found.argmax(-1) == trained.argmax(-1)).float().mean()),
        mismatches=tuple(_mismatches(adapter.folder, base.folder, merged)),
    )


def _loaded(folder: Path, quantised: BitsAndBytesConfig | None) -> Any:
    packed = {} if quantised is None else {"quantization_config": quantised}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **packed).eval()
    on_disk = getattr(model.config, "quantization_config", None)
    known = quantised or (on_disk if isinstance(on_disk, BitsAndBytesConfig) else None)
    if known is not None:
        settle_quantised(model, known)
    return model


def _tokens(base: BaseFiles) -> Tensor:
    """Ids from all over the vocabulary, int64 `[4, 48]`."""
    config = base.config.get("text_config") or base.config
    return torch.randint(config["vocab_size"], (_TEXTS, _LENGTH), generator=torch.Generator().manual_seed(1))


def _apart(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().max() / two.abs().max())


def _allowed(base: BaseFiles, quantised: BitsAndBytesConfig | None) -> float:
    packed = base.config.get("quantization_config") or {}
    if packed.get("load_in_8bit") or (quantised is not None and quantised.load_in_8bit):
        return _INT8
    stored = {weight.dtype for shard in base.shards for weight in _first(base, shard)}
    return _EXACT if stored == {torch.float32} and not packed else _ROUNDED


def _first(base: BaseFiles, shard: str) -> list[Tensor]:
    """One weight of a file is enough to tell the number format."""
    return [weight for weight, _ in zip((each[1] for each in base.weights(shard)), range(1), strict=False)]


def _mismatches(adapter: Path, base: Path, merged: Path) -> list[str]:
    source = adapter if (adapter / "tokenizer_config.json").is_file() else base
    wanted, found = (AutoTokenizer.from_pretrained(each) for each in (source, merged))
    pairs = {
        "token ids of a text": (wanted(_TEXT).input_ids, found(_TEXT).input_ids),
        "chat template": (wanted.chat_template, found.chat_template),
        "end token": (wanted.eos_token, found.eos_token),
        "pad token": (wanted.pad_token, found.pad_token),
    }
    if (adapter / "generation_config.json").is_file():
        settings = [GenerationConfig.from_pretrained(each).to_dict() for each in (adapter, merged)]
        pairs["generation config"] = (settings[0], settings[1])
    return [f"the {name} is {two!r}, and was {one!r}" for name, (one, two) in pairs.items() if one != two]
