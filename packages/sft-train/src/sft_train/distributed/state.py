"""Weights and optimizer states of all processes as those of one, and back.

A whole state is the same whatever the engine and the number of processes: a dict of float32 weights by name, and the
optimizer's state by the number of the weight. So a checkpoint of one way to train can be gone on with in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from sft_schema import TrainingError

Weights = dict[str, Tensor]
Keep = Callable[[str, Tensor], bool]


def is_saved(model: nn.Module) -> Keep:
    """Which tensors a checkpoint holds: all of a model, or of one with an adapter what is trained and embeddings."""
    if not hasattr(model, "peft_config"):
        return lambda _name, _tensor: True
    return lambda name, tensor: tensor.requires_grad or "embed" in name or "lm_head" in name


def file_names(model: Any, names: Iterable[str]) -> dict[str, str]:
    """What the weights of a model are called in its safetensors files, by the model's own names."""
    if not hasattr(model, "peft_config"):
        return {name: name for name in names}
    # peft picks and renames the entries of a dict, whatever they are
    stored: dict[str, Any] = get_peft_model_state_dict(
        model, {name: name for name in names}, save_embedding_layers=False
    )
    return {name: key for key, name in stored.items()}


def clean(name: str) -> str:
    """The name of a weight without what recomputation and compilation put into it."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "")


def _whole(value: Any, *, keep: bool) -> Any:
    """A tensor with the shards of all processes, on the CPU where it is kept. Every process calls it."""
    if not isinstance(value, Tensor):
        return value
    found = value.full_tensor() if isinstance(value, DTensor) else value
    return found.detach().cpu() if keep else None


def whole_weights(model: nn.Module, *, keep: bool) -> Weights:
    """The weights that a checkpoint of a model that FSDP2 shards holds, by name. Every process calls it.

    Args:
        model: the wrapped model.
        keep: whether this process wants them; the others get nothing and hold one weight at a time.
    """
    found: Weights = {}
    wanted = is_saved(model)
    trained = {clean(name) for name, each in model.named_parameters() if each.requires_grad}
    for name, each in model.state_dict().items():
        if not (clean(name) in trained or wanted(name, each)):
            continue
        whole = _whole(each, keep=keep)
        if keep:
            found[clean(name)] = whole
    return found


def whole_optimizer(optimizer: Optimizer, *, keep: bool) -> dict[str, Any]:
    """The `state_dict` of an optimizer over shards, as it would be over whole weights. Every process calls it."""
    state = optimizer.state_dict()
    whole = {
        number: {key: _whole(value, keep=keep) for key, value in each.items()}
        for number, each in state["state"].items()
    }
    return {"state": whole, "param_groups": state["param_groups"]} if keep else {}


def load_weights(model: nn.Module, folder: Path, fill: Callable[[Tensor, Tensor], None]) -> None:
    """Puts the weights of a checkpoint into a model.

    Args:
        model: with shards, or whole.
        folder: with safetensors files.
        fill: puts a whole tensor, on the CPU, into one of the model's.

    Raises:
        TrainingError: the checkpoint lacks a weight.
    """
    with ExitStack() as files:
        stored: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            opened = files.enter_context(safe_open(path, "pt"))
            stored |= dict.fromkeys(opened.keys(), opened)
        kept = model.state_dict().keys()
        tensors = {clean(name): each for name, each in model.named_parameters()}
        tensors |= {clean(name): each for name, each in model.named_buffers() if name in kept}
        for name, key in file_names(model, tensors).items():
            if key not in stored:
                message = f"{folder} holds no {key}, which this model has"
                raise TrainingError(message, fix="go on in one process, or begin anew with the folder as `base_model`")
            fill(tensors[name], stored[key].get_tensor(key))


@torch.no_grad()
def fill_shard(target: Tensor, whole: Tensor) -> None:
    """Copies this process's part of a whole tensor into a tensor, which may be a shard."""
    target.copy_(shard_like(whole, target))


def shard_like(value: Any, weight: Tensor) -> Any:
    """A whole tensor cut as a weight is; anything of another shape stays."""
    if not (isinstance(weight, DTensor) and isinstance(value, Tensor) and value.shape == weight.shape):
        return value
    value = value.to(weight.device_mesh.device_type)
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)


def load_optimizer(optimizer: Optimizer, folder: Path) -> None:
    """Puts the optimizer's state of a checkpoint into this process's shards."""
    state = read_optimizer(folder)
    weights = [each for group in optimizer.param_groups for each in group["params"]]
    for number, each in state["state"].items():
        state["state"][number] = {key: shard_like(value, weights[number]) for key, value in each.items()}
    optimizer.load_state_dict(state)


def read_optimizer(folder: Path) -> dict[str, Any]:
    """The whole state of an optimizer, mapped from the file and not read at once."""
    return torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True, mmap=True)
