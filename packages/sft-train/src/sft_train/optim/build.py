"""From a row of the table of optimizers to an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import Adafactor

from sft_schema.config import OptimizerSection
from sft_schema.optim import OPTIMIZERS
from sft_schema.optim import Optimizer as Row
from sft_train.optim.groups import Group, embedding_weights, parameter_groups
from sft_train.optim.muon import MuonWithAdamW
from sft_train.optional import bitsandbytes_optimizers, keep_in_32_bits, schedule_free_optimizers

Build = Callable[[list[Group], OptimizerSection, Row], Optimizer]
Arguments = dict[str, Any]


def build_optimizer(model: nn.Module, cfg: OptimizerSection, decayed: Collection[str]) -> Optimizer:
    """The optimizer of a config over the weights of a model that are trained.

    Args:
        model: bare or with an adapter.
        cfg: the optimizer, its arguments and the learning rates; a whole `SftConfig` is one.
        decayed: names of the weights that decay.

    Raises:
        ConfigError: it needs a package that is not installed, or a learning rate is for no weight.
    """
    row, groups = OPTIMIZERS[cfg.optimizer], parameter_groups(model, cfg, decayed)
    if row.algorithm == "muon":
        return _muon(groups, cfg, embedding_weights(model))
    optimizer = BUILDERS[row.algorithm](groups, cfg, row)
    if row.state_dtype == "uint8":
        # Rows of rare tokens get gradients that are mostly zero, which 8 bits handle badly.
        keep_in_32_bits([each for each in model.modules() if isinstance(each, nn.Embedding)])
    return optimizer


def _common(cfg: OptimizerSection, *reads: str) -> Arguments:
    """Learning rate, the settings named by `reads`, and what `optim_args` adds."""
    found: Arguments = {"lr": cfg.learning_rate}
    if "betas" in reads:
        found["betas"] = (cfg.adam_beta1, cfg.adam_beta2)
    if "eps" in reads:
        found["eps"] = cfg.adam_epsilon
    return found | cfg.optim_args


def _adamw(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    fused = row.name == "adamw_torch_fused"
    return torch.optim.AdamW(groups, fused=fused, **_common(cfg, "betas", "eps"))


def _adafactor(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    # A rate of its own (relative_step) would make `learning_rate` and the schedule mean nothing.
    return Adafactor(groups, scale_parameter=False, relative_step=False, **_common(cfg))


def _bnb(groups: list[Group], cfg: OptimizerSection, row: Row, cls: str, *reads: str) -> Optimizer:
    found = _common(cfg, *reads)
    if cls == "AdEMAMix":
        found["betas"] = (*found["betas"], found.pop("beta3", 0.9999))
    if cls != "RMSprop":
        found["is_paged"] = row.paged
    bits = 8 if row.state_dtype == "uint8" else 32
    return getattr(bitsandbytes_optimizers(row.name), cls)(groups, optim_bits=bits, **found)


def _bnb_adamw(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return _bnb(groups, cfg, row, "AdamW", "betas", "eps")


def _bnb_ademamix(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return _bnb(groups, cfg, row, "AdEMAMix", "betas", "eps")


def _bnb_lion(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return _bnb(groups, cfg, row, "Lion", "betas")


def _bnb_rmsprop(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return _bnb(groups, cfg, row, "RMSprop")


def _free_adamw(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return schedule_free_optimizers(row.name).AdamWScheduleFree(groups, **_common(cfg, "betas", "eps"))


def _free_radam(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return schedule_free_optimizers(row.name).RAdamScheduleFree(groups, **_common(cfg, "betas", "eps"))


def _free_sgd(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return schedule_free_optimizers(row.name).SGDScheduleFree(groups, **_common(cfg))


def _sgd(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return torch.optim.SGD(groups, **_common(cfg))


def _adagrad(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return torch.optim.Adagrad(groups, **_common(cfg))


def _rmsprop(groups: list[Group], cfg: OptimizerSection, row: Row) -> Optimizer:
    return torch.optim.RMSprop(groups, **_common(cfg))


def _muon(groups: list[Group], cfg: OptimizerSection, embedding: set[int]) -> Optimizer:
    """Muon over matrices that are no embedding, with steps as large as AdamW's so that one rate fits both."""

    def is_hidden(weight: torch.Tensor) -> bool:
        return weight.ndim == 2 and id(weight) not in embedding

    hidden, others = ([group | {"params": []} for group in groups] for _ in range(2))
    for index, group in enumerate(groups):
        for weight in group["params"]:
            (hidden if is_hidden(weight) else others)[index]["params"].append(weight)
    parts: list[Optimizer] = []
    if hidden := [group for group in hidden if group["params"]]:
        parts.append(torch.optim.Muon(hidden, **({"adjust_lr_fn": "match_rms_adamw"} | _common(cfg))))
    if others := [group for group in others if group["params"]]:
        betas = (cfg.adam_beta1, cfg.adam_beta2)
        parts.append(torch.optim.AdamW(others, lr=cfg.learning_rate, betas=betas, eps=cfg.adam_epsilon))
    return MuonWithAdamW(parts)


BUILDERS: Mapping[str, Build] = {
    "adamw": _adamw,
    "adafactor": _adafactor,
    "bnb_adamw": _bnb_adamw,
    "bnb_ademamix": _bnb_ademamix,
    "bnb_lion": _bnb_lion,
    "bnb_rmsprop": _bnb_rmsprop,
    "free_adamw": _free_adamw,
    "free_radam": _free_radam,
    "free_sgd": _free_sgd,
    "sgd": _sgd,
    "adagrad": _adagrad,
    "rmsprop": _rmsprop,
}
"""What builds each algorithm of the table but Muon, which has to know the layers."""
