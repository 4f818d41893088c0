"""Weights and optimizer states under DeepSpeed's ZeRO, in the form of `sft_train.distributed.state`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sft_train.distributed.state import Weights, is_saved, load_weights, read_optimizer
from sft_train.optional import deepspeed_parts

Trained = list[list[nn.Parameter]]
"""The weights of each group of the optimizer, as it was before DeepSpeed put flat tensors into it."""


def whole_zero_weights(engine: Any, *, keep: bool) -> Weights:
    """The weights that a checkpoint holds, float32 where they are trained. Every process calls it."""
    tools, wanted = deepspeed_parts(), is_saved(engine.module)
    found: Weights = {}
    for name, each in engine.module.named_parameters(remove_duplicate=False):
        if not wanted(name, each):
            continue
        whole = tools.safe_get_full_fp32_param(each) if each.requires_grad else None
        if whole is None:
            with tools.GatheredParameters([each]):
                whole = each.detach().clone() if keep else None
        if keep and whole is not None:
            found[name] = whole.detach().cpu().reshape(_shape(each))
    kept = engine.module.state_dict().keys()
    buffers = engine.module.named_buffers()
    return found | {name: each.cpu() for name, each in buffers if keep and name in kept and wanted(name, each)}


def _shape(weight: Any) -> torch.Size:
    return getattr(weight, "ds_shape", weight.shape)


def fill_zero(target: Tensor, whole: Tensor) -> None:
    """Puts a whole tensor into a model that ZeRO may have partitioned already. Every process calls it."""
    if not hasattr(target, "ds_id"):
        with torch.no_grad():
            target.copy_(whole)
        return
    with deepspeed_parts().GatheredParameters([target], modifier_rank=0), torch.no_grad():
        target.copy_(whole)


def _fill_exact(target: Tensor, whole: Tensor) -> None:
    if target.requires_grad:
        _set(target, whole, None)


def whole_zero_optimizer(engine: Any, trained: Trained, *, keep: bool) -> dict[str, Any]:
    """The state of the optimizer by the number of the weight, as without DeepSpeed. Every process calls it."""
    tools, inner = deepspeed_parts(), engine.optimizer.optimizer
    keys, scalars = _keys(inner)
    _link_states(engine.optimizer)
    state: dict[int, dict[str, Any]] = {}
    groups: list[dict[str, Any]] = []
    number = 0
    for group, weights in zip(inner.param_groups, trained, strict=True):
        for each in weights:
            values = {key: tools.safe_get_full_optimizer_state(each, key) for key in keys}
            state[number] = {key: _copy(value) for key, value in scalars.items()} | {
                key: None if value is None else value.detach().cpu().reshape(_shape(each))
                for key, value in values.items()
                if keep
            }
            number += 1
        numbers = [*range(number - len(weights), number)]
        groups.append({key: value for key, value in group.items() if key != "params"} | {"params": numbers})
    return {"state": state if keys or scalars else {}, "param_groups": groups} if keep else {}


def _keys(inner: Any) -> tuple[list[str], dict[str, Any]]:
    """Names of what the optimizer keeps for each weight, and what it keeps for all of them, such as the step."""
    for each in inner.state.values():
        keys = [key for key, value in each.items() if isinstance(value, Tensor) and value.ndim]
        return keys, {key: _on_cpu(value) for key, value in each.items() if key not in keys}
    return [], {}


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value


def load_zero(engine: Any, trained: Trained, folder: Path) -> None:
    """Puts a checkpoint into DeepSpeed's partitions.

    Args:
        engine: made of a model that was filled with `fill_zero`; it may have rounded these weights to its format.
        trained: see `Trained`.
        folder: with safetensors files and optimizer.pt.
    """
    stored, inner = read_optimizer(folder), engine.optimizer.optimizer
    for group, said in zip(inner.param_groups, stored["param_groups"], strict=True):
        group |= {key: value for key, value in said.items() if key != "params"}
    load_weights(engine.module, folder, _fill_exact)
    if not stored["state"]:
        return
    _make_states(engine.optimizer, inner, stored["state"][0])
    for number, each in enumerate(weight for group in trained for weight in group):
        for key, value in stored["state"][number].items():
            if isinstance(value, Tensor) and value.ndim:
                _set(each, value, key)


def _set(weight: Any, whole: Tensor, key: str | None) -> None:
    """Sets this process's part of a weight in float32, or of a state of it."""
    tools = deepspeed_parts()
    if hasattr(weight, "ds_tensor"):
        size, first = weight.ds_tensor.numel(), dist.get_rank() * weight.ds_tensor.numel()
        part = whole.new_zeros(size)  # the last one is filled up
        found = whole.flatten()[first : first + size]
        part[: found.numel()] = found
        tools.set_local(weight, part, key)
    elif key is None:
        tools.safe_set_full_fp32_param(weight, whole)
    else:
        tools.safe_set_full_optimizer_state(weight, whole, key)


def _make_states(zero: Any, inner: Any, first: dict[str, Any]) -> None:
    """Optimizers make their states in the first step, which is too late here."""
    groups: list[Any] = [group["params"] for group in inner.param_groups]
    if hasattr(zero, "fp32_partitioned_groups_flat"):  # ZeRO 3 puts one of these into the optimizer at a time
        groups = [zero.fp32_partitioned_groups_flat]
    for group in groups:
        for flat in group:
            for key, value in first.items():
                whole = isinstance(value, Tensor) and value.ndim
                inner.state[flat][key] = torch.zeros_like(flat) if whole else _copy(value)
    _link_states(zero)


def _link_states(zero: Any) -> None:
    """Lets ZeRO 1 and 2 find the states of all weights.

    DeepSpeed 0.19 does it once, after the first group's first step, when the other groups have no states yet.
    """
    link = getattr(zero, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:
        zero._hp_optimizer_states_linked = False
        link()


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
