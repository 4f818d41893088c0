"""The files of a base model: which weight is in which, and how packed weights are unpacked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor

from sft_schema import DataError
from sft_train.optional import unpack_4bit, unpack_8bit

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PACKING = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB", ".weight_format")
_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py"]


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """A base model on disk.

    Attributes:
        folder: where it is.
        config: its config.json.
        shards: names of the weights in each file, those of packing left out.
        places: every name in the files, and its file.
    """

    folder: Path
    config: dict[str, Any]
    shards: dict[str, tuple[str, ...]]
    places: dict[str, str]

    @property
    def names(self) -> set[str]:
        """Of all weights."""
        return {name for names in self.shards.values() for name in names}

    @property
    def tied(self) -> bool:
        """The head shares the embedding's weights."""
        text = self.config.get("text_config") or {}
        return bool(self.config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))

    def weights(self, shard: str) -> Iterator[tuple[str, Tensor, torch.dtype]]:
        """Names and weights of one file, one at a time, unpacked; with the number format to store each in."""
        with safe_open(self.folder / shard, "pt") as tensors:
            for name in self.shards[shard]:
                yield name, *self._unpacked(name, tensors.get_tensor(name))

    def all_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names and weights of all files, one at a time, unpacked."""
        for shard in self.shards:
            yield from ((name, weight) for name, weight, _ in self.weights(shard))

    def _unpacked(self, name: str, weight: Tensor) -> tuple[Tensor, torch.dtype]:
        """As bitsandbytes packs it: in 4 bits with its state beside it, in 8 bits with a scale for each row."""
        stem = name.removesuffix(".weight")
        if f"{stem}.SCB" in self.places:
            return unpack_8bit(weight, self._read(f"{stem}.SCB")), self._format()
        state = {key: self._read(key) for key in self.places if key.startswith(f"{name}.")}
        return (unpack_4bit(weight, state).float(), self._format()) if state else (weight, weight.dtype)

    def _read(self, name: str) -> Tensor:
        with safe_open(self.folder / self.places[name], "pt") as tensors:
            return tensors.get_tensor(name)

    def _format(self) -> torch.dtype:
        """What the model's own config says that its weights are in."""
        name = self.config.get("dtype") or self.config.get("torch_dtype") or "float32"
        return getattr(torch, name)


def read_base(name: str, revision: str | None = None) -> BaseFiles:
    """The files of a base model; one on the hub is fetched.

    Args:
        name: folder or hub id.
        revision: of a model on the hub.

    Raises:
        DataError: there are no safetensors files.
    """
    folder = Path(name)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=_PATTERNS))
        except (OSError, ValueError) as error:
            message = f"the base model {name!r} is neither a folder nor can it be fetched: {error}"
            fix = "run this where the base model's folder is, or correct base_model_name_or_path in adapter_config.json"
            raise DataError(message, where=name, fix=fix) from error
    places = _places(folder)
    shards: dict[str, list[str]] = {}
    for key, file in places.items():
        if not (key.endswith(_PACKING) or ".quant_state." in key):
            shards.setdefault(file, []).append(key)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return BaseFiles(folder, config, {file: tuple(keys) for file, keys in shards.items()}, places)


def _places(folder: Path) -> dict[str, str]:
    if (folder / _INDEX).is_file():
        found: dict[str, str] = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        return found
    if not (folder / _SINGLE).is_file():
        fix = "convert it to safetensors; a run with `reinit_weights` has no base model to merge into"
        raise DataError("the base model has no model.safetensors", where=str(folder), fix=fix)
    with safe_open(folder / _SINGLE, "pt") as tensors:
        return dict.fromkeys(tensors.keys(), _SINGLE)
