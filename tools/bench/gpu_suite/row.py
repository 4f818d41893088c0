"""What a part of the suite finds, and what they all share."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from sft_kernels.transformers import register_attention
from sft_schema import SftConfig, parse_config

MIB = 2**20


class Row(NamedTuple):
    """One case.

    Attributes:
        case: what was measured.
        ok: whether it is as it must be; None where nothing is demanded, and where it was not run.
        figures: by name.
        why: what is demanded, or why it was not run.
    """

    case: str
    ok: bool | None
    figures: dict[str, float]
    why: str


def of_case(case: str, find: Callable[[], Row]) -> Row:
    """A row; of what breaks one that says so, for the other cases are still wanted."""
    try:
        return find()
    except (RuntimeError, ValueError, TypeError, ImportError) as error:  # torch's own errors are RuntimeErrors
        return Row(case, False, {}, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


class Scale(NamedTuple):
    """Sizes of a run: the real ones, or tiny ones for a machine without a GPU."""

    device: str
    lengths: tuple[int, ...]
    """Tokens of the samples of a packed row."""
    shape: dict[str, int]
    """Of the model of the checks."""
    loss: tuple[int, int, int]
    """Tokens, width and vocabulary of the loss whose memory is measured."""
    row: int
    """Tokens of the row whose memory is measured."""


_HEADS = {"num_attention_heads": 8, "num_key_value_heads": 4}
FULL = Scale(
    "cuda",
    (700, 33, 1024, 1, 259, 500),
    {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4, "vocab_size": 4096, **_HEADS},
    (16384, 4096, 128256),
    8192,
)
TINY = Scale(
    "cpu",
    (17, 3, 30, 1, 9),
    {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 128, **_HEADS},
    (2048, 32, 4000),
    512,
)


def llama(shape: dict[str, int], attention: str, device: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A Llama with random weights, made on the device; its seed is always the same."""
    register_attention()
    config = LlamaConfig(**shape, max_position_embeddings=131072, initializer_range=0.05, attn_implementation=attention)
    config.eos_token_id, config.bos_token_id, config.pad_token_id = 2, None, 0
    set_seed(3)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)


def batch_of(lengths: tuple[int, ...], vocabulary: int, device: str) -> dict[str, Any]:
    """A packed row of random tokens, all of which but the first of each sample are trained; see `to_tensors`."""
    draw = torch.Generator().manual_seed(4)
    ids = torch.randint(3, vocabulary, (sum(lengths),), generator=draw)
    ends = torch.tensor((0, *lengths)).cumsum(0)
    first = torch.zeros(len(ids) + 1, dtype=torch.bool)
    first[ends] = True
    predict_at = (~first[1:-1]).nonzero().flatten()
    batch = {
        "input_ids": ids[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "predict_at": predict_at,
        "targets": ids[predict_at + 1],
        "cu_seqlens": ends.int(),
        "max_seqlen": max(lengths),
    }
    return {name: each.to(device) if isinstance(each, Tensor) else each for name, each in batch.items()}


def apart(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """The samples of a packed row, each as a row of its own; without those that train nothing."""
    ends = batch["cu_seqlens"].tolist()
    found = []
    for start, stop in pairwise(ends):
        inside = (batch["predict_at"] >= start) & (batch["predict_at"] < stop)
        if not inside.any():
            continue
        found.append(
            {
                "input_ids": batch["input_ids"][:, start:stop],
                "position_ids": batch["position_ids"][:, start:stop],
                "predict_at": batch["predict_at"][inside] - start,
                "targets": batch["targets"][inside],
                "cu_seqlens": batch["cu_seqlens"].new_tensor([0, stop - start]),
                "max_seqlen": stop - start,
            }
        )
    return found


def in_bfloat16(device: str) -> AbstractContextManager[None]:
    """As the trainer computes with `bf16: true`: float32 weights, autocast."""
    return torch.autocast(device, torch.bfloat16)


def peak_of(function: Callable[[], Any], device: str) -> int:
    """The most bytes that were allocated during a call over those before it; on a CPU by torch's profiler."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        function()
    held = most = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def settings(folder: Path, **others: Any) -> SftConfig:
    """A config of ours for a model in a folder; no data are read."""
    common = {"base_model": str(folder), "datasets": [{"path": "none.jsonl"}], "learning_rate": 1e-4}
    return parse_config(json.dumps({**common, "attn_implementation": "sft_varlen", "bf16": True, **others}))
