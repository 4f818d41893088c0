"""Whether bfloat16 on this machine computes what it should: packed rows, kernels in layers, optimizers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_suite.row import Row, Scale, apart, batch_of, in_bfloat16, llama, of_case, settings
from sft_kernels import implementations, use_backend
from sft_kernels.ops.varlen_attention import Boundaries, Call
from sft_schema import ConfigError, SftError
from sft_schema.config import MemorySection
from sft_train.compute import Compute
from sft_train.loss import forward_call, next_token_nll
from sft_train.model import fuse_layers
from sft_train.model.attention import check_backend
from sft_train.optim import build_optimizer

ALLOWED, FLOOR = 1.5, 2e-3
"""An error in bfloat16 may be this many times that of the plain way, and this much more."""
LEAK = 5.0
"""Samples that see one another must be further off than this many times."""
OPTIMIZERS = (
    "adamw_torch_fused",
    "adamw_bnb_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "ademamix_8bit",
    "lion_8bit",
    "paged_lion_8bit",
)
STEPS = 4
Outcome = tuple[float, Tensor]


def outcome(model: nn.Module, batches: list[dict[str, Any]], attention: str) -> Outcome:
    """Mean loss over all trained tokens of some batches, and all gradients in one float32 vector."""
    model.zero_grad()
    call, count = forward_call(model, attention), sum(each["targets"].numel() for each in batches)
    total = 0.0
    for each in batches:
        loss = next_token_nll(model, each, call) / count
        loss.backward()
        total += float(loss.detach())
    return total, torch.cat([each.grad.flatten().float() for each in model.parameters() if each.grad is not None])


def far(found: Outcome, exact: Outcome) -> dict[str, float]:
    """Relative distance of the loss, and of the gradients as one vector."""
    loss = abs(found[0] - exact[0]) / abs(exact[0])
    return {"loss": loss, "gradient": float((found[1] - exact[1]).norm() / exact[1].norm())}


def near(found: dict[str, float], plain: dict[str, float]) -> bool:
    """No further off than the plain way is, give or take."""
    return all(found[name] <= ALLOWED * plain[name] + FLOOR for name in plain)


def ways_of_attention(scale: Scale) -> Iterable[tuple[str, str, str | None]]:
    """Backend, implementation of ours or "", and why it cannot run here."""
    compute = Compute(bf16=True, use_cpu=scale.device == "cpu")
    for name in ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"):
        try:
            check_backend(name, compute)
        except ConfigError as error:
            yield name, "", error.issues[0].message
        else:
            yield name, "", None
    width = scale.shape["hidden_size"] // scale.shape["num_attention_heads"]
    heads = (scale.shape["num_attention_heads"], *[scale.shape["num_key_value_heads"]] * 2)
    like: dict[str, Any] = {"device": scale.device, "dtype": torch.bfloat16, "requires_grad": True}
    q, k, v = (torch.zeros(4, n, width, **like) for n in heads)
    ends = torch.tensor([0, 4], dtype=torch.int32, device=scale.device)
    call = Call(Boundaries(ends, ends, 4, 4), width**-0.5)
    for name, why in implementations("varlen_attention", q, k, v, None, call).items():
        yield "sft_varlen", name, why


def packed_and_apart(scale: Scale) -> list[Row]:
    """A packed row in bfloat16 is as near to float32 as its samples one by one in bfloat16 are."""
    batch = batch_of(scale.lengths, scale.shape["vocab_size"], scale.device)
    exact = outcome(llama(scale.shape, "eager", scale.device), apart(batch), "eager")
    rows = []
    for name, implementation, why in ways_of_attention(scale):
        case = f"{name} {implementation}".strip()
        if why is not None:
            rows.append(Row(case, None, {}, why))
            continue
        rows.append(of_case(case, partial(_compared, case, name, implementation, scale, exact)))
    return rows


def _compared(case: str, name: str, implementation: str, scale: Scale, exact: Outcome) -> Row:
    """One backend, with one implementation of ours where there are several."""
    batch = batch_of(scale.lengths, scale.shape["vocab_size"], scale.device)
    model = llama(scale.shape, name, scale.device)
    chosen = use_backend(implementation, "varlen_attention") if implementation else nullcontext()
    with chosen, in_bfloat16(scale.device):
        packed, plain = (far(outcome(model, each, name), exact) for each in ([batch], apart(batch)))
        leaked = far(outcome(model, [_as_one_sample(batch)], name), exact)
    seen = leaked["gradient"] > LEAK * packed["gradient"]
    figures = {f"{what}, {part}": each[part] for what, each in _named(packed, plain, leaked) for part in each}
    demanded = f"packed at most {ALLOWED} x apart + {FLOOR:g}; a leak over {LEAK:g} x"
    return Row(case, near(packed, plain) and seen, figures, demanded)


def _named(*found: dict[str, float]) -> Iterable[tuple[str, dict[str, float]]]:
    return zip(("packed", "apart", "leak on purpose"), found, strict=True)


def _as_one_sample(batch: dict[str, Any]) -> dict[str, Any]:
    """The mistake: all samples of the row are taken for one."""
    tokens = batch["input_ids"].shape[1]
    ends, places = batch["cu_seqlens"].new_tensor([0, tokens]), torch.arange(tokens, device=batch["input_ids"].device)
    return batch | {"position_ids": places[None], "cu_seqlens": ends, "max_seqlen": tokens}


def kernels(scale: Scale) -> list[Row]:
    """Layers with kernels in bfloat16 are as near to float32 as the model's own are; and how long a step takes."""
    batch = batch_of(scale.lengths, scale.shape["vocab_size"], scale.device)
    exact = outcome(llama(scale.shape, "sdpa", scale.device), [batch], "sdpa")
    compute = Compute(bf16=True, use_cpu=scale.device == "cpu")
    found, times = {}, {}
    for wanted in (False, True):
        model = llama(scale.shape, "sdpa", scale.device)
        done = fuse_layers(model, MemorySection(fused_kernels=wanted), compute)
        with in_bfloat16(scale.device):
            found[wanted] = far(outcome(model, [batch], "sdpa"), exact)
            times[wanted] = seconds_of(lambda m=model: outcome(m, [batch], "sdpa"), scale.device)
    replaced = ", ".join(f"{count} {name}" for name, count in done.replaced.items())
    figures = {f"{what}, {part}": found[on][part] for on, what in ((True, "on"), (False, "off")) for part in found[on]}
    figures |= {"on, ms": 1000 * times[True], "off, ms": 1000 * times[False]}
    return [Row(replaced, near(found[True], found[False]), figures, f"on at most {ALLOWED} x off + {FLOOR:g}")]


def seconds_of(function: Callable[[], Any], device: str, runs: int = 5) -> float:
    """The shortest of some runs, after those above have warmed it up."""
    times = []
    for _ in range(1 if device == "cpu" else runs):
        began = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)


def optimizers(scale: Scale) -> list[Row]:
    """Every optimizer with small or paged states lowers the loss in a few steps; and what its states take."""
    return [of_case(name, partial(_stepped, name, scale)) for name in OPTIMIZERS]


def _stepped(name: str, scale: Scale) -> Row:
    batch = batch_of(scale.lengths, scale.shape["vocab_size"], scale.device)
    model = llama(scale.shape, "sdpa", scale.device)
    rate = 1e-4 if "lion" in name else 1e-3
    try:
        optimizer = build_optimizer(model, settings(Path(), optimizer=name, learning_rate=rate), [])
    except SftError as error:  # a library that it needs is not installed
        return Row(name, None, {}, str(error))
    losses = []
    for _ in range(STEPS + 1):
        with in_bfloat16(scale.device):
            losses.append(outcome(model, [batch], "sdpa")[0])
        optimizer.step()
    held = [each for state in optimizer.state.values() for each in state.values() if isinstance(each, Tensor)]
    size = sum(each.numel() * each.element_size() for each in held) / sum(each.numel() for each in model.parameters())
    ok = all(map(math.isfinite, losses)) and losses[-1] < losses[0]
    figures = {"loss before": losses[0], f"after {STEPS} steps": losses[-1], "bytes of state for a weight": size}
    return Row(name, ok, figures, "the loss falls")
