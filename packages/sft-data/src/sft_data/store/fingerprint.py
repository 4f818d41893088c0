"""The name of a preparation: a hash over everything that decides its tokens."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

from sft_schema import RECORDS_VERSION, SftConfig
from sft_schema.config import MaskSection, MixingSection

_SETTINGS = (
    "datasets", "test_datasets", "val_set_size", "on_bad_row", "sequence_len", "excess_length_strategy",
    *MixingSection.model_fields, "shuffle_merged_datasets",
    *(name for name in MaskSection.model_fields if name != "chat_template_jinja"),
)  # fmt: skip


def fingerprint(
    cfg: SftConfig,
    *,
    sources: list[str],
    tokenizer: Path,
    chat_template: str | None,
    versions: dict[str, str],
) -> str:
    """Sixteen hex digits of SHA-256 over settings, data, tokenizer, template and versions.

    Packing is left out on purpose: plans are made from lengths when training starts. The seed counts only where
    it chooses held-out rows or a mix, the date only where the template prints it.
    """
    settings = cfg.model_dump(mode="json", include=set(_SETTINGS))
    parts: dict[str, Any] = {
        "records": RECORDS_VERSION,
        "settings": settings,
        "special_tokens": cfg.special_tokens.model_dump(),
        "seed": cfg.seed if cfg.val_set_size or cfg.mix_strategy != "concat" else None,
        "sources": sources,
        "tokenizer": hashlib.sha256(tokenizer.read_bytes()).hexdigest(),
        "template": chat_template,
        "date": str(date.today()) if chat_template and "strftime_now" in chat_template else None,
        "versions": versions,
    }
    if cfg.tokens:
        parts["tokens"] = cfg.tokens
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
