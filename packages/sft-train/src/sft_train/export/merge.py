"""An adapter merged into its base model, one file of weights after another.

Memory holds one file of the result and one weight in float32. Weights that the run had in 4 or 8 bits go through the
same rounding first: the adapter was trained on those, and not on the ones on disk.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers import BitsAndBytesConfig

from sft_schema import DataError
from sft_train.export.adapter import Adapter
from sft_train.export.base import BaseFiles
from sft_train.model import quantised_layers
from sft_train.optional import rounded_as

_TOKENIZER = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "chat_template*",
    "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json",
)  # fmt: skip
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


@dataclass(frozen=True, slots=True)
class Merged:
    """What was written.

    Attributes:
        folder: the merged model.
        weights: weights in all.
        changed: weights with an adapter in them.
        rounded: weights that went through the rounding of the quantised run.
        files: files of weights.
    """

    folder: Path
    weights: int
    changed: int
    rounded: int
    files: int


def merge_adapter(adapter: Adapter, base: BaseFiles, out: Path, quantised: BitsAndBytesConfig | None = None) -> Merged:
    """Writes a whole model: weights, config, tokenizer with chat template, generation config.

    Args:
        adapter: see `read_adapter`.
        base: its base model.
        out: folder to make; it appears when it is whole.
        quantised: how the run loaded the base model; None for full precision, or for one that is packed on disk.

    Raises:
        DataError: the adapter does not fit, or `out` is there already.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError("the folder is not empty", where=str(out), fix="give `--out` another name")
    changes = _onto_weights(adapter, base)
    rounded = {f"{name}.weight" for name in quantised_layers(base.folder, quantised)} if quantised else set[str]()
    if missing := sorted(rounded - base.names):
        message = f"{missing[0]} of the model is in none of its files under this name"
        raise DataError(message, where=str(base.folder), fix="merge in memory, with peft's `merge_and_unload()`")
    work = _Work(adapter, base, changes, rounded, quantised)
    with _whole(out) as folder:
        places: dict[str, str] = {}
        total = 0
        for shard in base.shards:
            tensors = work.file(shard)
            places |= dict.fromkeys(tensors, shard)
            total += sum(each.nbytes for each in tensors.values())
            save_file(tensors, folder / shard, metadata={"format": "pt"})
        if len(base.shards) > 1:
            index = {"metadata": {"total_size": total}, "weight_map": places}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        _copy_the_rest(adapter, base, folder)
    return Merged(out, len(places), len(changes), len(rounded), len(base.shards))


@dataclass(frozen=True, slots=True)
class _Work:
    """What becomes of the weights.

    Attributes:
        adapter: see `read_adapter`.
        base: its base model.
        changes: weights of the base model that change, and what the adapter calls them.
        rounded: weights that the run had in 4 or 8 bits.
        quantised: how.
    """

    adapter: Adapter
    base: BaseFiles
    changes: dict[str, str]
    rounded: set[str]
    quantised: BitsAndBytesConfig | None

    def file(self, shard: str) -> dict[str, Tensor]:
        """The weights of one file, in the number formats that they are stored in."""
        return {name: self._of(name, weight).to(dtype) for name, weight, dtype in self.base.weights(shard)}

    def _of(self, name: str, weight: Tensor) -> Tensor:
        if self.quantised is not None and name in self.rounded:
            weight = rounded_as(weight.float(), self.quantised)
        return self.adapter.apply(self.changes[name], weight.float()) if name in self.changes else weight


def _onto_weights(adapter: Adapter, base: BaseFiles) -> dict[str, str]:
    """Weights of the base model that change, and what the adapter calls them.

    Raises:
        DataError: the base model lacks one, or its head would have to part from the embedding.
    """
    names = base.names
    found: dict[str, str] = {}
    for key, change in adapter.changes.items():
        name = key
        if base.tied and (key.startswith("lm_head.") or key.endswith(_EMBEDDINGS)):
            name = _tied_name(key, "whole" in change.parts, adapter, names)
        if name not in names:
            message = f"the base model {adapter.base} has no weight {key}, which the adapter changes"
            fix = (
                "name the base model that it was trained on in adapter_config.json, or merge in memory, with peft's "
                "`merge_and_unload()`"
            )
            raise DataError(message, where=str(adapter.file), fix=fix)
        found[name] = key
    return found


def _tied_name(key: str, whole: bool, adapter: Adapter, names: set[str]) -> str:
    """The embedding, which is the head too; trained whole it stays so, but not with an adapter on one of them."""
    if not whole:
        message = f"the adapter changes {key}, whose weights the head and the embedding share in the base model"
        fix = "merge in memory with peft, or train with `lora_modules_to_save: [embed_tokens]`, which keeps them one"
        raise DataError(message, where=str(adapter.file), fix=fix)
    return next((name for name in sorted(names) if name.endswith(_EMBEDDINGS)), key)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder that takes the name `out` when all is written, and goes when something fails."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_the_rest(adapter: Adapter, base: BaseFiles, folder: Path) -> None:
    """Tokenizer and generation config are the run's, as far as it saved them; config and code the base model's."""
    own = (adapter.folder / "tokenizer_config.json").is_file()
    _copy(adapter.folder if own else base.folder, folder, _TOKENIZER)
    stops = (adapter.folder, adapter.folder.parent, base.folder)
    kept = next((each for each in stops if (each / "generation_config.json").is_file()), None)
    if kept is not None:
        _copy(kept, folder, ("generation_config.json",))
    _copy(base.folder, folder, ("*.py",))
    config = {key: value for key, value in base.config.items() if key != "quantization_config"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _copy(source: Path, folder: Path, patterns: tuple[str, ...]) -> None:
    for file in source.iterdir():
        if file.is_file() and any(fnmatch(file.name, pattern) for pattern in patterns):
            shutil.copyfile(file, folder / file.name)
