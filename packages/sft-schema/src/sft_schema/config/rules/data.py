"""Data sets: settings of an entry that fit its format, and folders that do not collide."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath
from typing import Any

from sft_schema.config.conversation import ConversationConfig
from sft_schema.config.data import DatasetConfig, FormatName
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.errors import Path

_OF_SEGMENTS_TOO = {"train_on_inputs", "train_on_eos"}
_READ_BY: dict[str, FormatName] = {
    "field": "completion",
    "format_function": "custom",
    **dict.fromkeys(ConversationConfig.model_fields.keys() - _OF_SEGMENTS_TOO, "chat_template"),
}
"""Settings of an entry that one format alone reads."""

_BOTH = ("datasets", "test_datasets")


def entries(cfg: SftConfig) -> Iterator[tuple[Path, DatasetConfig]]:
    """Every data set with its path in the config."""
    for key, datasets in (("datasets", cfg.datasets), ("test_datasets", cfg.test_datasets)):
        for index, dataset in enumerate(datasets):
            yield (key, index), dataset


def _setting_of_another_format(cfg: SftConfig) -> Finding | None:
    for path, dataset in entries(cfg):
        for key, reader in _READ_BY.items():
            value: Any = getattr(dataset, key)
            if dataset.type != reader and value != DatasetConfig.model_fields[key].default:
                message = f"{key} has no effect with `type: {dataset.type}`"
                return Finding((*path, key), message, f"remove it, or set `type: {reader}`")
    return None


def _custom_without_function(cfg: SftConfig) -> Finding | None:
    for path, dataset in entries(cfg):
        if dataset.type == "custom" and dataset.format_function is None:
            fix = "set `format_function: file.py:function`, or a format that is built in"
            return Finding((*path, "format_function"), "`type: custom` does not say which function", fix)
    return None


def _key_mapped_twice(cfg: SftConfig) -> Finding | None:
    for path, dataset in entries(cfg):
        seen: dict[str, str] = {}
        for name, key in dataset.message_property_mappings.items():
            if key in seen:
                message = f"{seen[key]!r} and {name!r} are both read from {key!r}; a message gives it once"
                return Finding((*path, "message_property_mappings", name), message, "map each key to one property")
            seen[key] = name
    return None


def _piece_of_shards(cfg: SftConfig) -> Finding | None:
    for path, dataset in entries(cfg):
        if dataset.shards is None and dataset.shards_idx:
            message = f"shards_idx is {dataset.shards_idx}, but the rows are not divided"
            return Finding((*path, "shards_idx"), message, "set `shards` to the number of pieces")
        if dataset.shards is not None and dataset.shards_idx >= dataset.shards:
            message = f"there are {dataset.shards} pieces, numbered from 0, and no piece {dataset.shards_idx}"
            return Finding((*path, "shards_idx"), message, f"choose 0 to {dataset.shards - 1}")
    return None


def _weight_without_mix(cfg: SftConfig) -> Finding | None:
    for path, dataset in entries(cfg):
        if dataset.weight is None:
            continue
        if path[0] == "test_datasets":
            return Finding((*path, "weight"), "data to evaluate on are not mixed", "remove it")
        if cfg.mix_strategy == "concat":
            message = f"weight is {dataset.weight}, but all rows of all data sets are used once"
            return Finding((*path, "weight"), message, "set `mix_strategy: interleave_under` or `interleave_over`")
    return None


def _some_weights(cfg: SftConfig) -> Finding | None:
    given = [dataset.weight is not None for dataset in cfg.datasets]
    if all(given) or not any(given):
        return None
    path = ("datasets", given.index(False), "weight")
    return Finding(path, "other data sets have a weight and this one has none", "give every data set a weight, or none")


def _mix_by_without_mix(cfg: SftConfig) -> Finding | None:
    if cfg.mix_strategy != "concat" or cfg.mix_by == "rows":
        return None
    message = f"mix_by is {cfg.mix_by!r}, but all rows of all data sets are used once"
    return Finding(("mix_by",), message, "set `mix_strategy: interleave_under` or `interleave_over`, or remove it")


def _validation_split_is_fraction_or_count(cfg: SftConfig) -> Finding | None:
    size = cfg.val_set_size
    if size < 1 or size == int(size):
        return None
    return Finding(("val_set_size",), f"{size} is neither a fraction nor a number of rows", f"write {int(size)}")


def _output_over_base_model(cfg: SftConfig) -> Finding | None:
    if normpath(cfg.output_dir) != normpath(cfg.base_model):
        return None
    message = f"{cfg.output_dir!r} is base_model too: the model would be written over the one it started from"
    return Finding(("output_dir",), message, "choose another folder")


DATA_RULES: tuple[Rule, ...] = (
    Rule("setting_of_another_format", _BOTH, _setting_of_another_format),
    Rule("custom_without_function", _BOTH, _custom_without_function),
    Rule("key_mapped_twice", _BOTH, _key_mapped_twice),
    Rule("piece_of_shards", _BOTH, _piece_of_shards),
    Rule("weight_without_mix", (*_BOTH, "mix_strategy"), _weight_without_mix),
    Rule("some_weights", ("datasets",), _some_weights),
    Rule("mix_by_without_mix", ("mix_by", "mix_strategy"), _mix_by_without_mix),
    Rule("val_set_size", ("val_set_size",), _validation_split_is_fraction_or_count),
    Rule("output_over_base_model", ("output_dir", "base_model"), _output_over_base_model),
)
