"""Data sets: settings of an entry that fit its format, and folders that do not collide."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath
from typing import Any

from sft_schema.config.data import DatasetConfig, FormatName
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.errors import Path

_READ_BY: dict[str, FormatName] = {
    "field": "completion",
    "field_messages": "chat_template",
    "field_tools": "chat_template",
    "message_property_mappings": "chat_template",
    "roles_to_train": "chat_template",
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


def _key_mapped_twice(cfg: SftConfig) -> Finding | None:
    for path, dataset in entries(cfg):
        seen: dict[str, str] = {}
        for name, key in dataset.message_property_mappings.items():
            if key in seen:
                message = f"{seen[key]!r} and {name!r} are both read from {key!r}; a message gives it once"
                return Finding((*path, "message_property_mappings", name), message, "map each key to one property")
            seen[key] = name
    return None


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
    Rule("key_mapped_twice", _BOTH, _key_mapped_twice),
    Rule("val_set_size", ("val_set_size",), _validation_split_is_fraction_or_count),
    Rule("output_over_base_model", ("output_dir", "base_model"), _output_over_base_model),
)
