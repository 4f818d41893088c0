"""A LoRA adapter on disk, as changes to named weights of its base model.

With rank r, an adapter holds for a linear layer W of `[out, in]`

    lora_A [r, in]    lora_B [out, r]    lora_magnitude_vector [out]  (DoRA alone)

LoRA (Hu et al. 2021, arXiv 2106.09685) makes of it W' = W + s B A with s = lora_alpha / r, or lora_alpha / sqrt(r) for
rsLoRA (arXiv 2312.03732). DoRA (arXiv 2402.09353) then gives each row of W' the length that its magnitude says.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from sft_schema import DataError

_IN_MEMORY = (
    "merge it in memory instead: `AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload()`, from peft"
)
_PART = re.compile(r"^(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.weight)?$")
_UNDERSTOOD = frozenset(
    (
        *("auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "exclude_modules", "fan_in_fan_out"),
        *("inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout"),
        *("megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "revision"),
        *("runtime_config", "target_modules", "task_type", "use_dora", "use_rslora"),
    )
)
"""Keys of adapter_config.json that may have any value here; others change the weights in ways of their own."""


@dataclass(slots=True)
class Change:
    """What an adapter does to one weight: names of its tensors, by part.

    Attributes:
        parts: `lora_A`, `lora_B` and perhaps `lora_magnitude_vector`; `lora_embedding_A` and `lora_embedding_B`; or
            `whole`, the weight as it was trained.
    """

    parts: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on disk.

    Attributes:
        folder: where it is.
        base: its base model, folder or hub id.
        revision: of the base model, or None.
        scaling: s of the formula.
        transposed: weights are stored as `[in, out]`, as GPT-2's are.
        changes: by the name of the weight.
    """

    folder: Path
    base: str
    revision: str | None
    scaling: float
    transposed: bool
    changes: dict[str, Change]

    @property
    def file(self) -> Path:
        """Its tensors."""
        return self.folder / "adapter_model.safetensors"

    def apply(self, name: str, weight: Tensor) -> Tensor:
        """A weight of the base model with the adapter in it.

        Args:
            name: of the weight.
            weight: float32, `[out, in]`, or as in the base model's file.

        Returns:
            float32 of the same shape.

        Raises:
            DataError: shapes do not match.
        """
        with safe_open(self.file, "pt") as tensors:
            parts = {part: tensors.get_tensor(key).float() for part, key in self.changes[name].parts.items()}
        if "whole" in parts:
            return self._fitting(name, weight, parts["whole"])
        if "lora_embedding_A" in parts:
            delta = (parts["lora_embedding_B"] @ parts["lora_embedding_A"]).T
            return weight + self.scaling * self._fitting(name, weight, delta)
        turned = weight.T if self.transposed else weight
        summed = turned + self.scaling * self._fitting(name, turned, parts["lora_B"] @ parts["lora_A"])
        if "lora_magnitude_vector" in parts:
            norm = torch.linalg.vector_norm(summed, dim=1)
            summed = summed * self._fitting(name, norm, parts["lora_magnitude_vector"].flatten() / norm)[:, None]
        return summed.T.contiguous() if self.transposed else summed

    def _fitting(self, name: str, weight: Tensor, change: Tensor) -> Tensor:
        if weight.shape == change.shape:
            return change
        message = f"the adapter changes {name} by {[*change.shape]}, and the base model has {[*weight.shape]}"
        fix = f"name the base model that it was trained on in adapter_config.json, which says {self.base}"
        raise DataError(message, where=str(self.file), fix=fix)


def read_adapter(folder: Path) -> Adapter:
    """Reads what an adapter is, and which weights it changes; its tensors stay on disk.

    Raises:
        DataError: there is none, or it is one that cannot be merged weight by weight.
    """
    config_file = folder / "adapter_config.json"
    if not config_file.is_file():
        fix = "give the `output_dir` of a run with `adapter`, or one of its checkpoints"
        raise DataError("there is no adapter here: adapter_config.json is missing", where=str(folder), fix=fix)
    config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    _refuse_other_kinds(config, config_file)
    rank = config["r"]
    return Adapter(
        folder,
        config["base_model_name_or_path"],
        config.get("revision"),
        config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank),
        bool(config.get("fan_in_fan_out")),
        _changes(folder / "adapter_model.safetensors"),
    )


def _refuse_other_kinds(config: dict[str, Any], file: Path) -> None:
    where = str(file)
    if config.get("peft_type") != "LORA":
        message = f"the adapter is of the kind {config.get('peft_type')!r}, not 'LORA'"
        raise DataError(message, where=where, fix=_IN_MEMORY)
    start = config.get("init_lora_weights")
    if not isinstance(start, bool) and start not in ("gaussian", "orthogonal"):
        message = f"init_lora_weights is {start!r}, which takes a part out of the base model's weights"
        raise DataError(message, where=where, fix=_IN_MEMORY)
    others = {key: value for key, value in config.items() if key not in _UNDERSTOOD}
    if found := [f"{key} {value!r}" for key, value in others.items() if value and value != "none"]:
        raise DataError(f"the adapter has {', '.join(found)}, which is not known here", where=where, fix=_IN_MEMORY)


def _changes(file: Path) -> dict[str, Change]:
    if not file.is_file():
        fix = "save it as safetensors; the other format is a pickle, which can run code when read"
        raise DataError("the adapter's tensors are missing", where=str(file), fix=fix)
    changes: dict[str, Change] = {}
    with safe_open(file, "pt") as tensors:
        names = [*tensors.keys()]
    for name in names:
        bare = name.removeprefix("base_model.model.")
        match = _PART.match(bare)
        if match is None and ".base_layer." in bare:
            continue  # an embedding that peft saves along as it was
        key, part = (f"{match[1]}.weight", match[2]) if match else (bare, "whole")
        changes.setdefault(key, Change()).parts[part] = name
    for key, change in changes.items():
        _check_parts(key, change, file)
    return changes


def _check_parts(key: str, change: Change, file: Path) -> None:
    """An adapter of a weight has both matrices, and lies on a linear layer where it has a magnitude."""
    known = ({"whole"}, {"lora_A", "lora_B"}, {"lora_A", "lora_B", "lora_magnitude_vector"})
    if {*change.parts} in (*known, {"lora_embedding_A", "lora_embedding_B"}) and ".base_layer." not in key:
        return
    message = f"the adapter has {sorted(change.parts)} for {key}, which is not known here"
    raise DataError(message, where=str(file), fix=_IN_MEMORY)
