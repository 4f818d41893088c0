"""An adapter that starts at what quantisation has lost (LoftQ, Li et al. 2023, arXiv 2310.08659).

With W the weight and Q what it became in 4 bits, A and B start as the largest part of W - Q that their rank can hold,
so that Q + scale B A is closer to W than Q. The paper goes on to quantise W - scale B A and so forth; here the base
model stays as every other run with these settings has it, which is one round of the paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from sft_schema import ConfigError, Issue
from sft_train.optional import dequantised

_EXTRA, _ROUNDS = 8, 4
"""Of the random projection (Halko et al. 2011, arXiv 0909.4061): ranks beyond what is wanted, and iterations."""


@torch.no_grad()
def start_at_lost_part(model: PeftModel, weights: Iterable[tuple[str, Tensor]], seed: int) -> None:
    """Sets A and B of each adapter on a 4-bit layer.

    Args:
        model: with its adapter, on a base model in 4 bits.
        weights: names and values of the base model's weights before they were quantised, in any order.
        seed: of the projection.

    Raises:
        ConfigError: the weight of a layer is not among them.
    """
    named = dict(model.get_base_model().named_modules())
    left = {f"{name}.weight": each for name, each in named.items() if isinstance(each, LoraLayer) and _in_4_bits(each)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, weight in weights:
            layer = left.pop(name, None)
            if layer is not None:
                _start(layer, weight)
    if left:
        message = f"the files of the base model lack the weights of {len(left)} layers, such as {next(iter(left))}"
        fix = "remove it: this model's files name their weights otherwise than the model does"
        raise ConfigError([Issue("loftq_weights", ("peft_init_lora_weights",), message, fix)])


def _in_4_bits(layer: Any) -> bool:
    return hasattr(layer.get_base_layer().weight, "quant_state")


def _start(layer: Any, weight: Tensor) -> None:
    packed = layer.get_base_layer().weight
    lost = weight.to(packed.device, torch.float32) - dequantised(packed)
    for name in layer.active_adapters:
        a, b, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
        rank = a.shape[0]
        u, s, v = torch.svd_lowrank(lost, q=min(rank + _EXTRA, *lost.shape), niter=_ROUNDS)
        root = s[:rank].sqrt()
        a.copy_((v[:, :rank] * root).T / scale**0.5)
        b.copy_(u[:, :rank] * root / scale**0.5)
