"""What can be told of a model without loading it: its size, whether samples can share rows, and its template."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from sft_schema.advice import model_billions
from sft_schema.attention import packing_leak

_BILLION = 1e9
_LONGEST_HEADER = 100 << 20


@dataclass(frozen=True, slots=True)
class ModelLook:
    """What was seen of a model.

    Attributes:
        name: folder or hub id.
        billions: weights in billions, of the files of a folder or by the name; None where neither says.
        leak: why samples must not share a row; None where they may, or nothing is known.
        template: whether the tokenizer has a chat template; None for a model that is not a folder here.
    """

    name: str
    billions: float | None
    leak: str | None = None
    template: bool | None = None


def look_at_model(name: str, billions: float | None = None) -> ModelLook:
    """Looks into a model's folder; of a model of the hub only its name is read.

    Args:
        name: folder or hub id.
        billions: what the user says.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return ModelLook(name, billions or model_billions(name))
    config = _json(folder / "config.json")
    text = config.get("text_config") or config
    kind = text.get("model_type")
    leak = packing_leak(kind, layer_types=text.get("layer_types")) if kind else None
    size = billions or _weights(folder) or model_billions(name)
    return ModelLook(name, size, leak, _has_template(folder))


def _json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _has_template(folder: Path) -> bool:
    return (folder / "chat_template.jinja").is_file() or "chat_template" in _json(folder / "tokenizer_config.json")


def _weights(folder: Path) -> float | None:
    """Weights of all safetensors files, in billions, from their headers; None without such files."""
    counts = [_count(file) for file in sorted(folder.glob("*.safetensors"))]
    return sum(counts) / _BILLION if counts else None


def _count(file: Path) -> int:
    """Numbers in a safetensors file; its header is JSON behind 8 bytes of length (format's README)."""
    with file.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8).ljust(8, b"\0"))
        if length > _LONGEST_HEADER:
            return 0
        try:
            header: dict[str, Any] = json.loads(handle.read(length))
        except ValueError:
            return 0
    return sum(prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
