"""How much memory a step takes at most, against limits that follow from what has to be held."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from gpu_suite.row import MIB, Row, Scale, batch_of, in_bfloat16, llama, peak_of, settings
from sft_kernels import linear_cross_entropy
from sft_schema import SftConfig, SftError
from sft_train.adapter import add_adapter
from sft_train.compute import Compute
from sft_train.loss import forward_call, summed_loss
from sft_train.model import load_model, quantisation
from sft_train.testing import tiny_model

WIDE = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 16}
CHUNK = {"cuda": 1024 * MIB, "cpu": 128 * MIB}
"""What the fused loss lets the logits of a part of the tokens take; see docs/kernels.md."""
SLACK = {"cuda": 256 * MIB, "cpu": MIB // 4}
"""For what is small: masks, sums, and what an allocator rounds up."""


def ceilings(scale: Scale) -> list[Row]:
    """All limits."""
    return [*fused_loss(scale), *recomputed(scale), *quantised(scale)]


def row_of(case: str, peak: int, limit: float, why: str, **others: float) -> Row:
    """A peak against its limit, both in MiB."""
    figures = {"peak MiB": peak / MIB, "limit MiB": limit / MIB, **{name: each / MIB for name, each in others.items()}}
    return Row(case, peak <= limit, figures, why)


def fused_loss(scale: Scale) -> Iterator[Row]:
    """Loss from hidden states: the logits of all tokens never exist, with the head trained and with it frozen."""
    tokens, width, vocabulary = scale.loss
    draw = torch.Generator(scale.device).manual_seed(5)
    made = {"generator": draw, "device": scale.device, "dtype": torch.bfloat16}
    hidden, weight = (torch.randn(size, width, **made).requires_grad_() for size in (tokens, vocabulary))
    target = torch.randint(vocabulary, (tokens,), generator=draw, device=scale.device)
    try:
        plain = {
            "plain MiB": peak_of(
                lambda: functional.cross_entropy((hidden @ weight.T).float(), target).backward(), scale.device
            )
        }
    except torch.OutOfMemoryError:  # it is for comparison alone, and takes 30 GiB
        plain = {}
    chunk = min(CHUNK[scale.device], 2 * tokens * vocabulary)
    for trained in (True, False):
        hidden.grad = weight.grad = None
        weight.requires_grad_(trained)
        peak = peak_of(lambda: linear_cross_entropy(hidden, weight, target).backward(), scale.device)
        # gradients in bfloat16, waiting and then held; of the weight also a sum in float32; logits and their gradient
        own = 2 * 2 * tokens * width + trained * (2 * 2 + 4) * vocabulary * width
        limit = own + 3 * chunk + SLACK[scale.device]
        head = "head trained" if trained else "head frozen"
        case = f"fused loss, {tokens} tokens x {vocabulary} ids, {head}"
        yield row_of(case, peak, limit, "gradients and three chunks of logits", **plain)


def recomputed(scale: Scale) -> Iterator[Row]:
    """Gradient checkpointing: of each layer its input is held, and one layer's activations at a time."""
    batch = batch_of((scale.row // 2,) * 2, scale.shape["vocab_size"], scale.device)
    peaks = {}
    for on in (False, True):
        model: Any = llama({**scale.shape, "num_hidden_layers": 8}, "sft_varlen", scale.device).train()
        if on:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        peaks[on] = peak_of(lambda m=model: _step(m, batch, scale.device), scale.device)
    case = f"gradient checkpointing, 8 layers, {scale.row} tokens"
    yield row_of(case, peaks[True], 0.6 * peaks[False], "0.6 of the peak without", **{"without MiB": peaks[False]})


def _step(model: nn.Module, batch: dict[str, Any], device: str, cfg: SftConfig | None = None) -> None:
    """A forward and a backward pass of the trainer's loss in bfloat16."""
    cfg = settings(Path()) if cfg is None else cfg
    with in_bfloat16(device):
        loss = summed_loss(model, cfg, forward_call(model, "sft_varlen"))(model, batch)
    (loss / batch["targets"].numel()).backward()


def quantised(scale: Scale) -> Iterator[Row]:
    """QLoRA: half a byte for each weight of a linear layer, the rest in float32, and a step with checkpointing."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_model(Path(scratch) / "model", weights=False)
        shape = scale.shape | (WIDE if scale.device == "cuda" else {})
        model: Any = llama(shape | {"num_hidden_layers": 8}, "sdpa", scale.device)
        model.save_pretrained(folder)
        linear = sum(each.weight.numel() for each in model.model.modules() if isinstance(each, nn.Linear))
        rest = sum(each.numel() for each in model.parameters()) - linear
        del model
        case, why = "QLoRA, 8 layers", "inputs of all layers, activations of one, three chunks of logits"
        cfg = settings(folder, adapter="qlora", load_in_4bit=True, lora_target_linear=True, lora_r=8)
        try:
            limit = 0.6 * linear + 4 * rest + SLACK[scale.device]
            weights, peak = _qlora(cfg, scale)
        except SftError as error:
            yield Row(case, None, {}, str(error))
            return
        yield row_of(f"{case}: weights", weights, limit, "0.6 bytes a linear weight, 4 for others")
        yield row_of(f"{case}: a step over {scale.row} tokens", peak, _step_limit(shape, scale), why)


def _step_limit(shape: dict[str, int], scale: Scale) -> float:
    """Inputs of 8 layers; one layer's activations; chunks of logits; the largest matrix in two number formats."""
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    activations = 4 * scale.row * (8 * width + 16 * width + 8 * inner)
    chunk = min(CHUNK[scale.device], 4 * scale.row * shape["vocab_size"])
    return activations + 3 * chunk + 8 * width * inner + SLACK[scale.device]


def _qlora(cfg: SftConfig, scale: Scale) -> tuple[int, int]:
    """Bytes of the loaded weights, and the peak of a step over them."""
    compute = Compute(bf16=True, use_cpu=scale.device == "cpu")
    model: Any = load_model(cfg, 0, compute, quantisation(cfg, compute))
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    adapted: Any = add_adapter(model, cfg).to(scale.device).train()
    adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    batch = batch_of((scale.row // 2,) * 2, scale.shape["vocab_size"], scale.device)
    return weights, peak_of(lambda: _step(adapted, batch, scale.device, cfg), scale.device)
