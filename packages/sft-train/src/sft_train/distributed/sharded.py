"""Checkpoints that each process writes a part of: torch's distributed checkpoint, as safetensors files.

    shards/   weights, and the optimizer's states as `optimizer.NUMBER.NAME`, in float32
    optimizer.pt   the rest of the optimizer: groups and steps

Any number of processes reads them: each asks for the part that it holds. torch writes the places of the parts into the
files' own headers (torch.distributed.checkpoint.hf_storage), so nothing here is a pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.optim import Optimizer

from sft_train.distributed.state import clean, file_names, read_optimizer

SHARDS = "shards"
Tensors = dict[str, Tensor]


def is_in_shards(folder: Path) -> bool:
    """Whether a checkpoint is of this kind."""
    return (folder / SHARDS).is_dir()


def _weights(model: nn.Module) -> Tensors:
    """The tensors that a checkpoint holds by their names in files, as they lie in this process."""
    kept = model.state_dict().keys()
    tensors = {clean(name): each.detach() for name, each in model.named_parameters()}
    tensors |= {clean(name): each for name, each in model.named_buffers() if name in kept}
    return {key: tensors[name] for name, key in file_names(model, tensors).items()}


def save_shards(model: nn.Module, optimizer: Optimizer, folder: Path, *, first: bool) -> None:
    """Writes this process's part. Every process calls it.

    Args:
        model: with shards.
        optimizer: over these shards.
        folder: of the checkpoint, which is there.
        first: this process also writes what all of them share.
    """
    state = optimizer.state_dict()
    large, rest = _apart(state)
    writer = HuggingFaceStorageWriter(str(folder / SHARDS), save_distributed=True)
    dcp.save(_weights(model) | large, storage_writer=writer)
    if first:
        torch.save({"state": rest, "param_groups": state["param_groups"]}, folder / "optimizer.pt")


def _apart(state: dict[str, Any]) -> tuple[Tensors, dict[int, dict[str, Any]]]:
    """States with a shape, by name; and numbers, by weight."""
    large: Tensors = {}
    rest: dict[int, dict[str, Any]] = {}
    for number, each in state["state"].items():
        shaped = {key: value for key, value in each.items() if isinstance(value, Tensor) and value.ndim}
        large |= {f"optimizer.{number}.{key}": value for key, value in shaped.items()}
        rest[number] = {key: value for key, value in each.items() if key not in shaped}
        rest[number] |= dict.fromkeys(shaped)
    return large, rest


def load_sharded_weights(model: nn.Module, folder: Path) -> None:
    """Reads the weights, whole or a part of each. Every process calls it."""
    _read(_weights(model), folder)


def load_sharded_optimizer(optimizer: Optimizer, folder: Path) -> None:
    """Reads the optimizer's states, whole or a part of each. Every process calls it."""
    state = read_optimizer(folder)
    weights = [each for group in optimizer.param_groups for each in group["params"]]
    large: Tensors = {}
    for number, each in state["state"].items():
        for key in [key for key, value in each.items() if value is None]:
            each[key] = large[f"optimizer.{number}.{key}"] = torch.zeros_like(weights[number]).detach()
    _read(large, folder)
    optimizer.load_state_dict(state)


def _read(tensors: Tensors, folder: Path) -> None:
    with torch.no_grad():
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder / SHARDS)))
