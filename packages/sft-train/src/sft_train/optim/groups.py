"""Which weights share a learning rate and a weight decay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from sft_schema import ConfigError, Issue
from sft_schema.config import LrGroup, OptimizerSection, RateSection

Group = dict[str, Any]
"""`params`, `lr` and `weight_decay`, as torch's optimizers take them."""


def parameter_groups(model: nn.Module, cfg: OptimizerSection, decayed: Collection[str]) -> list[Group]:
    """The weights that are trained, grouped by learning rate and weight decay.

    Args:
        model: bare or with an adapter.
        cfg: the learning rates; a whole `SftConfig` is one.
        decayed: names of the weights that decay.

    Returns:
        Groups that are not empty; those with the common learning rate come first.

    Raises:
        ConfigError: a rate is asked for that no trained weight would have, or two for one weight.
    """
    assert isinstance(cfg, RateSection), "the learning rates are a section of the config"
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    rates = {**_embedding_rates(model, cfg, trained), **_loraplus_rates(cfg, trained)}
    rates |= _group_rates(cfg.lr_groups, trained)
    groups: dict[tuple[float | None, bool], Group] = {}
    for key in ((None, True), (None, False)):
        groups[key] = _group(key, cfg)
    for name, weight in trained.items():
        key = (rates.get(name), name in decayed)
        groups.setdefault(key, _group(key, cfg))["params"].append(weight)
    return [group for group in groups.values() if group["params"]]


def embedding_weights(model: nn.Module) -> set[int]:
    """`id` of every weight in the input embedding and in the head, adapters on them included."""
    bare: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers: Iterable[nn.Module | None] = (bare.get_input_embeddings(), bare.get_output_embeddings())
    return {id(each) for layer in layers if layer is not None for each in layer.parameters()}


def _group(key: tuple[float | None, bool], cfg: OptimizerSection) -> Group:
    rate, decays = key
    return {
        "params": [],
        "lr": cfg.learning_rate if rate is None else rate,
        "weight_decay": cfg.weight_decay if decays else 0.0,
    }


def _embedding_rates(model: nn.Module, cfg: RateSection, trained: dict[str, Tensor]) -> dict[str, float]:
    setting = "embedding_lr" if cfg.embedding_lr is not None else "embedding_lr_scale"
    if cfg.embedding_lr is None and cfg.embedding_lr_scale is None:
        return {}
    assert isinstance(cfg, OptimizerSection), "the scale is one of the common learning rate"
    rate = cfg.embedding_lr if cfg.embedding_lr is not None else cfg.learning_rate * (cfg.embedding_lr_scale or 1)
    wanted = embedding_weights(model)
    found = {name: rate for name, each in trained.items() if id(each) in wanted}
    if not found:
        message = "neither the embedding nor the head is trained"
        fix = "name them in `lora_modules_to_save`, or remove it"
        raise ConfigError([Issue("rate_of_nothing", (setting,), message, fix)])
    return found


def _loraplus_rates(cfg: RateSection, trained: dict[str, Tensor]) -> dict[str, float]:
    if cfg.loraplus_lr_ratio is None:
        return {}
    assert isinstance(cfg, OptimizerSection), "the ratio is one of the common learning rate"
    rates: dict[str, float] = {}
    for name in trained:
        parts = name.split(".")
        if "lora_B" in parts:
            rates[name] = cfg.learning_rate * cfg.loraplus_lr_ratio
        elif "lora_embedding_A" in parts or "lora_embedding_B" in parts:
            rates[name] = cfg.loraplus_lr_embedding
    return rates


def _group_rates(groups: tuple[LrGroup, ...], trained: dict[str, Tensor]) -> dict[str, float]:
    owner: dict[str, LrGroup] = {}
    modules = [
        (("lr_groups", index, "modules", position), group, module)
        for index, group in enumerate(groups)
        for position, module in enumerate(group.modules)
    ]
    for path, group, module in modules:
        names = [name for name in trained if f".{module}." in f".{name}."]
        if not names:
            message, fix = f"no weight that is trained lies in {module!r}", f"choose from {', '.join(_layers(trained))}"
            raise ConfigError([Issue("rate_of_nothing", path, message, fix)])
        for name in names:
            other = owner.setdefault(name, group)
            if other is not group:
                message = f"{name} lies in two groups, {other.name!r} and {group.name!r}"
                raise ConfigError([Issue("two_rates", path, message, "name each layer in one group")])
    return {name: group.lr for name, group in owner.items()}


def _layers(trained: Iterable[str]) -> list[str]:
    """Parts of the weights' names that tell layers apart, for a message."""

    def parts() -> Iterator[str]:
        for name in trained:
            yield from (part for part in name.split(".")[:-1] if not part.isdigit())

    return sorted(set(parts()))
