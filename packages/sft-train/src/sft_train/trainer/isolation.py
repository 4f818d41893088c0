"""Proof, on the model at hand, that samples of one row do not see one another.

The table of attention backends says which keep samples apart, but a model has a word in it too: its own
attention code may ignore `position_ids` (OPT and Falcon do in transformers 5.23), and a convolution or recurrent
layer has no mask at all (LFM2, Qwen3-Next). So the model is asked.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from sft_schema import BACKENDS, ConfigError, Issue, SftConfig, TrainingError
from sft_schema.attention import sharing_setting
from sft_train.compute import holds_halves
from sft_train.loss import ForwardCall, logits_at
from sft_train.model import embedded_ids
from sft_train.trainer.not_finite import first_not_finite

_LENGTHS = (5, 9)
_LIMIT = {"float32": 1e-3, "bfloat16": 5e-2}
"""Largest difference allowed, as a part of the largest logit. Rounding gives 1e-6 and about 1e-2; a leak 0.1."""


def check_isolation(model: nn.Module, cfg: SftConfig, call: ForwardCall) -> None:
    """Refuses a model whose outputs for a sample change when another shares its row.

    Rows are joined end to end into batches, so samples share one as soon as a batch has two of them.

    Args:
        model: the model that is going to be trained, on its device.
        cfg: its attention backend, and whether samples ever share a row.
        call: see `forward_call`.

    Raises:
        ConfigError: with the difference found.
        TrainingError: the outputs are not numbers.
    """
    if sharing_setting(cfg) is None:
        return
    attn_implementation = cfg.attn_implementation
    halves = BACKENDS[attn_implementation].attn_needs_dtype_cast or holds_halves(model)
    dtype = "bfloat16" if halves else "float32"
    difference = _difference(model, call, dtype)
    if difference <= _LIMIT[dtype]:
        return
    if math.isnan(difference):
        raise _no_number(model, call)
    message = (
        f"{type(model).__name__} with {attn_implementation} mixes samples that share a row: outputs differ by "
        f"{difference:.2g} of the largest from those of the sample alone"
    )
    fix = "set `sample_packing: false`, `micro_batch_size: 1` and `eval_batch_size: 1`, or another backend"
    raise ConfigError([Issue("packing_leaks", ("attn_implementation",), message, fix)])


def _difference(model: nn.Module, call: ForwardCall, dtype: str) -> float:
    """Largest difference of the second sample's logits, packed and alone, over the largest logit."""
    embedding: Any = model.get_input_embeddings()
    device = embedding.weight.device
    ids = torch.arange(1, sum(_LENGTHS) + 1) * 7 % embedded_ids(model)
    training = model.training
    model.eval()
    cast = torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()
    with torch.no_grad(), cast:
        packed = logits_at(model, _batch(ids, _LENGTHS, device), call)
        alone = logits_at(model, _batch(ids[_LENGTHS[0] :], _LENGTHS[1:], device), call)
    model.train(training)
    return float((packed - alone).abs().max() / alone.abs().max())


def _no_number(model: nn.Module, call: ForwardCall) -> TrainingError:
    """Whatever the model does to samples, it gives no numbers."""
    embedding: Any = model.get_input_embeddings()
    ids = torch.arange(1, _LENGTHS[0] + 1) * 7 % embedded_ids(model)
    batch = _batch(ids, _LENGTHS[:1], embedding.weight.device)
    with torch.no_grad():
        found = first_not_finite(model, lambda: logits_at(model, batch, call))
    message = f"the model's outputs are not finite before training: first {found or 'its logits'}"
    return TrainingError(message, fix="use a `base_model` whose weights are whole, or another `attn_implementation`")


def _batch(ids: torch.Tensor, lengths: tuple[int, ...], device: torch.device) -> dict[str, Any]:
    """Samples of the given lengths in one row, with the logits of the last one wanted."""
    ends = torch.tensor((0, *lengths)).cumsum(0)
    return {
        "input_ids": ids[None].to(device),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        "predict_at": torch.arange(len(ids) - lengths[-1], len(ids), device=device),
        "cu_seqlens": ends.to(device, torch.int32),
        "max_seqlen": max(lengths),
    }
