"""The resolved config as YAML."""

from __future__ import annotations

import json
from pathlib import Path

from sft_schema import SftConfig


def write_config(cfg: SftConfig, path: Path) -> None:
    """Writes `config_text`."""
    path.write_text(config_text(cfg), encoding="utf-8")


def config_text(cfg: SftConfig) -> str:
    """Every setting with its value, defaults included: running this file does the same run.

    A value is written as JSON, which is YAML too, so a reader needs no more than a YAML parser and this writer
    needs none.
    """
    values = cfg.model_dump(mode="json")
    if cfg.adapter is None:  # settings of an adapter that is not there are refused when read
        values = {key: value for key, value in values.items() if not key.startswith("lora_")}
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
