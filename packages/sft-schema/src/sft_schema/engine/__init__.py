"""Configs of the engines that share a model out: files on disk, and DeepSpeed's that are shipped with this package.

    zero1          optimizer states are shared out
    zero2          gradients too
    zero2_offload  and the optimizer works in the host's memory
    zero3          weights too
    zero3_offload  and weights and optimizer stay in the host's memory

Every number that the run's own settings decide is `auto` in them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, cast

from sft_schema.config.shard import FsdpSettings, ShardingSection, stage_of
from sft_schema.errors import ConfigError, Issue
from sft_schema.yaml_source import read_text, read_yaml

READY = ("zero1", "zero2", "zero2_offload", "zero3", "zero3_offload")
"""Names of the configs for DeepSpeed that are shipped."""


def ready_text(name: str) -> str:
    """The JSON text of a config that is shipped; `name` is one of `READY`."""
    return (resources.files("sft_schema.engine") / f"{name}.json").read_text(encoding="utf-8")


def engine_config(key: str, value: str) -> dict[str, Any]:
    """What a text in `fsdp_config` or `deepspeed` stands for.

    Args:
        key: which of the two.
        value: the path of a JSON or YAML file, from the working directory; or for `deepspeed` one of `READY`.

    Raises:
        ConfigError: there is no such file, or it holds no mapping.
    """
    if key == "deepspeed" and value in READY:
        text = ready_text(value)
    elif Path(value).is_file():
        text = read_text(value)
    else:
        raise ConfigError([Issue("engine_file", (key,), f"there is no file {value!r}", _nearest(key, value))])
    found = read_yaml(text, value)
    values: Any = found.values
    if found.issues or not isinstance(values, dict):
        what = str(found.issues[0]) if found.issues else f"{value} holds no mapping"
        raise ConfigError([Issue("engine_file", (key,), what, "write `key: value` pairs, as JSON or YAML")])
    return cast("dict[str, Any]", values)


def fsdp_settings(cfg: ShardingSection) -> FsdpSettings | None:
    """The settings of FSDP2; None when it is not asked for.

    Raises:
        ConfigError: they are in a file that cannot be read, where the config was not made by `load_config`.
    """
    if cfg.fsdp_version is None:
        return None
    if isinstance(cfg.fsdp_config, str):
        return FsdpSettings.model_validate(engine_config("fsdp_config", cfg.fsdp_config))
    return cfg.fsdp_config or FsdpSettings()


def deepspeed_settings(cfg: ShardingSection) -> dict[str, Any] | None:
    """DeepSpeed's config; None when it is not asked for.

    Raises:
        ConfigError: it is in a file that cannot be read, where the config was not made by `load_config`.
    """
    return engine_config("deepspeed", cfg.deepspeed) if isinstance(cfg.deepspeed, str) else cfg.deepspeed


def zero_stage(cfg: ShardingSection) -> int:
    """DeepSpeed's ZeRO stage; 0 when it is not asked for."""
    return stage_of(deepspeed_settings(cfg))


def _nearest(key: str, value: str) -> str:
    if key != "deepspeed":
        return "write the settings themselves, or the path of a file that holds them"
    stem = (
        Path(value)
        .stem.replace("_bf16", "")
        .replace("cpuoffload_all", "offload")
        .replace("cpuoffload_params", "offload")
    )
    ready = stem if stem in READY else "zero2"
    return f"write `deepspeed: {ready}`, which is shipped ({', '.join(READY)} are), or the path of a file"
