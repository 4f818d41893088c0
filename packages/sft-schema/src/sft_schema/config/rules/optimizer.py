"""The optimizer, its arguments, and learning rates that differ."""

from __future__ import annotations

from typing import Any

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.optim import OPTIMIZERS, argument_problem

_ADAM_ONLY = ("adam_beta1", "adam_beta2", "adam_epsilon")


def _adam_settings(cfg: SftConfig) -> Finding | None:
    for key in _ADAM_ONLY:
        value: Any = getattr(cfg, key)
        if key not in OPTIMIZERS[cfg.optimizer].reads and value != SftConfig.model_fields[key].default:
            message = f"{key} has no effect with `optimizer: {cfg.optimizer}`"
            return Finding((key,), message, "remove it, or use an adamw optimizer")
    return None


def _optim_args(cfg: SftConfig) -> Finding | None:
    args = OPTIMIZERS[cfg.optimizer].args
    found = argument_problem(args, cfg.optim_args)
    if found is not None:
        message = f"{found[1]} among the arguments of `optimizer: {cfg.optimizer}`"
        fix = f"it takes {', '.join(each.name for each in args)}" if args else "it takes none: remove `optim_args`"
        return Finding(("optim_args", found[0]), message, fix)
    if cfg.optim_args.get("nesterov") and cfg.optimizer == "sgd" and not cfg.optim_args.get("momentum"):
        return Finding(("optim_args", "nesterov"), "nesterov without momentum", "add `momentum: 0.9`")
    return None


def _two_embedding_rates(cfg: SftConfig) -> Finding | None:
    given = [
        key for key in ("embedding_lr", "embedding_lr_scale", "loraplus_lr_ratio") if getattr(cfg, key) is not None
    ]
    if len(given) < 2:
        return None
    message = f"{' and '.join(given)} both decide the learning rate of the embedding"
    fix = "keep one of them; with LoRA+ it is `loraplus_lr_embedding`"
    return Finding((given[0],), message, fix)


def _loraplus(cfg: SftConfig) -> Finding | None:
    if cfg.loraplus_lr_ratio is None:
        if cfg.loraplus_lr_embedding == SftConfig.model_fields["loraplus_lr_embedding"].default:
            return None
        message = "loraplus_lr_embedding has no effect without loraplus_lr_ratio"
        return Finding(("loraplus_lr_embedding",), message, "add `loraplus_lr_ratio: 16`, or remove it")
    if cfg.adapter is None:
        message = "loraplus_lr_ratio is about an adapter's weights, and there is no adapter"
        return Finding(("loraplus_lr_ratio",), message, "add `adapter: lora`, or remove it")
    if cfg.lr_groups:
        message = "lr_groups and loraplus_lr_ratio both decide the learning rate of the adapter's weights"
        return Finding(("lr_groups",), message, "keep one of the two")
    return None


def _groups_of_one_name(cfg: SftConfig) -> Finding | None:
    names = [group.name for group in cfg.lr_groups]
    for index, name in enumerate(names):
        if name in names[:index]:
            return Finding(("lr_groups", index, "name"), f"two groups are called {name!r}", "give each its own name")
    return None


OPTIMIZER_RULES: tuple[Rule, ...] = (
    Rule("adam_settings_without_adam", ("optimizer", *_ADAM_ONLY), _adam_settings),
    Rule("optim_args", ("optimizer", "optim_args"), _optim_args),
    Rule("two_embedding_rates", ("embedding_lr", "embedding_lr_scale", "loraplus_lr_ratio"), _two_embedding_rates),
    Rule("loraplus", ("loraplus_lr_ratio", "loraplus_lr_embedding", "adapter", "lr_groups"), _loraplus),
    Rule("lr_groups_of_one_name", ("lr_groups",), _groups_of_one_name),
)
