"""Proof, on the model at hand, that processes which share a row compute what one of them would.

Attention is where tokens of different processes meet, and it is told of them through the model's forward. A model whose
attention does not hear of it, or another layer that mixes tokens (a convolution, a recurrence), would compute something
else without a word. So the model is asked, after what can be told from its config.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from sft_kernels.context_parallel.ulysses import check_heads
from sft_schema import ConfigError, Issue, SftConfig
from sft_train.compute import holds_halves
from sft_train.context.batches import part_of
from sft_train.context.mesh import ContextMesh
from sft_train.loss import ForwardCall, logits_at

_LIMIT, _LIMIT_ROUNDED = 1e-3, 5e-2
"""Largest difference of logits allowed, as a part of the largest. Rounding gives 1e-6, in bfloat16 and less 1e-2."""
_BY_LENGTH = ("dynamic", "longrope")
"""Rotary embeddings that look for the largest position of the row, of which a process sees a part."""


def check_shared_rows(model: nn.Module, cfg: SftConfig, call: ForwardCall, mesh: ContextMesh) -> None:
    """Refuses a model whose outputs for a shared row are not those for the whole one. All processes call it.

    Args:
        model: the model that is going to be trained, on its device, not wrapped.
        cfg: says whether its weights are quantised.
        call: see `forward_call`.
        mesh: of this process.

    Raises:
        ConfigError: with the difference found, with the number of heads, or with the kind of rotary embedding.
    """
    if mesh.group is None:
        return
    bare: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    _check_config(bare.config.get_text_config(), mesh)
    difference = _difference(model, call, mesh)
    rounded = cfg.load_in_4bit or cfg.load_in_8bit or holds_halves(model)
    limit = _LIMIT_ROUNDED if rounded else _LIMIT
    if difference <= limit:
        return
    message = (
        f"{type(bare).__name__} computes something else where {mesh.size} processes share a row: outputs differ by "
        f"{difference:.2g} of the largest"
    )
    raise _refused(message, "remove `context_parallel_size`; layers that carry something along the row cannot be cut")


def _check_config(config: Any, mesh: ContextMesh) -> None:
    heads = config.num_attention_heads
    if mesh.method == "ulysses":
        try:
            check_heads(heads, getattr(config, "num_key_value_heads", None) or heads, mesh.size)
        except ValueError as problem:
            raise _refused(str(problem), "set `context_parallel_method: ring`, which takes any number") from problem
    kinds = [kind for kind in _values(config.to_dict(), ("rope_type", "type")) if kind in _BY_LENGTH]
    if kinds:
        message = f"rotary embeddings of the kind {kinds[0]!r} change with the length of the row, which no process sees"
        raise _refused(message, "remove `context_parallel_size`, or choose a model with another kind")


def _values(settings: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[Any]:
    """What stands under some names, at any depth."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _values(value, names)
        elif name in names:
            yield value


def _difference(model: nn.Module, call: ForwardCall, mesh: ContextMesh) -> float:
    """Largest difference of logits on any process, over the largest logit; infinite where one is no number."""
    embedding: Any = model.get_input_embeddings()
    device = embedding.weight.device
    batch = _batch((3, 6 * mesh.size, 5), embedding.weight.shape[0])
    part = part_of(batch, mesh.method, mesh.rank, mesh.size)
    training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=holds_halves(model)):
        whole = logits_at(model, _moved(batch, device), call)
        shared = logits_at(model, _moved(part, device), call)
    model.train(training)
    mine = whole.float()[part["targets"].to(device)]
    found = (shared.float() - mine).abs().max() / whole.float().abs().max()
    found = torch.nan_to_num(found, nan=torch.inf)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return float(found)


def _batch(lengths: tuple[int, ...], vocabulary: int) -> dict[str, Any]:
    """Samples of the given lengths, with the logits of all places wanted; targets say which place it is."""
    places = torch.arange(sum(lengths))
    return {
        "input_ids": ((places + 1) * 7 % vocabulary)[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "predict_at": places,
        "targets": places,
        "cu_seqlens": torch.tensor((0, *lengths)).cumsum(0).to(torch.int32),
        "max_seqlen": max(lengths),
    }


def _moved(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: each.to(device) if isinstance(each, torch.Tensor) else each for name, each in batch.items()}


def _refused(message: str, fix: str) -> ConfigError:
    return ConfigError([Issue("context_parallel_model", ("context_parallel_size",), message, fix)])
