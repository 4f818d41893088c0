"""What a run must share with a checkpoint to go on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sft_schema import ConfigError, Issue, SftConfig

_SETTINGS = (
    "seed",
    "sequence_len",
    "sample_packing",
    "shuffle_merged_datasets",
    "optimizer",
    "adapter",
    "lora_r",
    "lora_alpha",
    "lora_target_modules",
    "lora_target_linear",
    "lora_modules_to_save",
)

_WHEN_SET = (
    "load_in_4bit",
    "load_in_8bit",
    "lora_target_parameters",
    "lora_model_dir",
    "peft_use_dora",
    "peft_use_rslora",
    "peft_init_lora_weights",
    "peft_layers_to_transform",
    "peft_layers_pattern",
    "unfrozen_parameters",
)
"""Settings that are off when they are empty, and then not part of the identity."""


_WHEN_CHANGED = ("packing_strategy", "max_samples_per_pack", "packing_balance", "dtype")
"""Settings that are part of the identity where they are not the default: older checkpoints do not know them."""


def run_identity(cfg: SftConfig, fingerprint: str, processes: int) -> dict[str, Any]:
    """The data, their order, and what is trained.

    Learning rate, length of the run, logging and saving may change between a checkpoint and its continuation.

    Args:
        cfg: the whole config.
        fingerprint: of the prepared data.
        processes: processes that train together on rows of their own.

    Returns:
        Setting to value, as JSON keeps it. `rows_per_step` is the product of micro batch, accumulation and
        processes: how they share it does not matter.
    """
    identity: dict[str, Any] = {name: getattr(cfg, name) for name in _SETTINGS}
    identity |= {name: value for name in _WHEN_SET if (value := getattr(cfg, name))}
    changed = {name: getattr(cfg, name) for name in _WHEN_CHANGED}
    identity |= {name: value for name, value in changed.items() if value != SftConfig.model_fields[name].default}
    if cfg.load_in_4bit or cfg.load_in_8bit:
        identity["bnb_config_kwargs"] = cfg.bnb_config_kwargs.model_dump(mode="json")
    identity |= {name: list(value) for name, value in identity.items() if isinstance(value, tuple)}
    if cfg.adapter is not None:
        identity["base_model"] = cfg.base_model  # the checkpoint holds the adapter alone
    rows = (cfg.batch_size or cfg.micro_batch_size * cfg.gradient_accumulation_steps) * processes
    identity |= _weight_groups(cfg)
    return identity | {"data": fingerprint, "rows_per_step": rows}


def _weight_groups(cfg: SftConfig) -> dict[str, Any]:
    """Which weights have a learning rate of their own, where any do: the optimizer keeps its state by group."""
    if cfg.lr_groups:
        return {"lr_groups": [[group.name, list(group.modules)] for group in cfg.lr_groups]}
    if cfg.loraplus_lr_ratio is not None:
        return {"loraplus_lr_ratio": "set"}
    own_rate = cfg.embedding_lr is not None or cfg.embedding_lr_scale is not None
    return {"embedding_lr": "set"} if own_rate else {}


def check_identity(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses to go on from a checkpoint of another run.

    Args:
        folder: the checkpoint.
        was: the identity kept with it.
        now: the identity of the run that wants to go on.

    Raises:
        ConfigError: with an issue for each difference.
    """
    differing = [name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)]
    if differing:
        raise ConfigError([_issue(name, was.get(name), now.get(name), folder) for name in differing])


def _issue(name: str, was: Any, now: Any, folder: Path) -> Issue:
    setting = {"data": "datasets", "rows_per_step": "micro_batch_size"}.get(name, name)
    what = {
        "data": "the prepared data (files, tokenizer, template or mask settings)",
        "rows_per_step": "micro_batch_size x gradient_accumulation_steps x processes",
    }.get(name, name)
    message = f"{what} was {was!r} in {folder.name} and is {now!r}: the run could not go on where it was"
    fix = "set it back, or begin anew: another `output_dir` and no `resume_from_checkpoint`"
    return Issue("resume_differs", (setting,), message, fix)
