"""A checkpoint in shards to one model, without the optimizer's states and in one process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from accelerate import PartialState
from safetensors.torch import save_file
from torch.distributed.checkpoint import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from sft_schema import ConfigError, Issue
from sft_train.checkpoint import folders_in, put_in_place, written_whole
from sft_train.distributed import SHARDS, is_in_shards

_OF_THE_RUN = ("optimizer.pt", "scheduler.pt", "trainer_state.json", "manifest.json")


@dataclass(frozen=True, slots=True)
class MergedShards:
    """What was written.

    Attributes:
        folder: of the model, or of the adapter.
        source: the checkpoint.
        weights: tensors.
        file: that holds them.
    """

    folder: Path
    source: Path
    weights: int
    file: str


def merge_shards(source: Path, out: Path) -> MergedShards:
    """Writes the weights of a checkpoint in shards as one safetensors file, beside its configs and tokenizer.

    Args:
        source: the checkpoint, or an `output_dir`, whose newest checkpoint it is then.
        out: folder that is not there yet.

    Raises:
        ConfigError: there is no checkpoint in shards, or `out` is there.
        TrainingError: it cannot be written.
    """
    folder = source if is_in_shards(source) else next(iter(folders_in(source)), source)
    if not is_in_shards(folder):
        message = f"{folder} holds no shards"
        fix = "name a checkpoint of a run with `state_dict_type: SHARDED_STATE_DICT`; all others hold one model already"
        raise ConfigError([Issue("no_shards", (), message, fix, file=str(source))])
    if out.exists():
        raise ConfigError([Issue("out_exists", (), f"{out} exists", "name a folder that does not", file=str(out))])
    weights = _whole(folder)
    name = "adapter_model.safetensors" if (folder / "adapter_config.json").is_file() else "model.safetensors"
    PartialState(cpu=True)
    with written_whole(out, put_in_place) as place:
        for path in folder.iterdir():
            beside = path.name.startswith("rng_state") or path.name in _OF_THE_RUN
            if path.is_file() and not beside and not (name.startswith("adapter") and path.name == "config.json"):
                shutil.copy(path, place)
        save_file(weights, place / name, metadata={"format": "pt"})
    return MergedShards(out, folder, len(weights), name)


def _whole(folder: Path) -> dict[str, torch.Tensor]:
    reader = HuggingFaceStorageReader(str(folder / SHARDS))
    found = reader.read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(each.size, dtype=each.properties.dtype)
        for name, each in found.items()
        if isinstance(each, TensorStorageMetadata) and not name.startswith("optimizer.")
    }
    dcp.load(tensors, storage_reader=reader, no_dist=True)
    return tensors
