"""Packing: settings that need `sample_packing`, and strategies that rule others out."""

from __future__ import annotations

from typing import Any

from sft_schema.config.pack import PackingSection
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule

_OF_PACKED_ROWS = ("packing_strategy", "max_samples_per_pack", "packing_balance")


def _packing_is_off(cfg: SftConfig) -> Finding | None:
    if cfg.sample_packing:
        return None
    for key in _OF_PACKED_ROWS:
        value: Any = getattr(cfg, key)
        if value != PackingSection.model_fields[key].default:
            message = f"{key} is {value!r}, but every sample has a row of its own"
            return Finding((key,), message, "set `sample_packing: true`, or remove it")
    return None


def _split_without_pieces(cfg: SftConfig) -> Finding | None:
    if cfg.packing_strategy != "bfd_split" or cfg.excess_length_strategy == "split":
        return None
    message = (
        f"bfd_split packs the pieces of samples longer than sequence_len {cfg.sequence_len}, and "
        f"excess_length_strategy {cfg.excess_length_strategy!r} leaves none"
    )
    return Finding(("packing_strategy",), message, "set `excess_length_strategy: split`, or `packing_strategy: bfd`")


def _wrapped_rows_are_full(cfg: SftConfig) -> Finding | None:
    if cfg.packing_strategy != "wrapped" or cfg.max_samples_per_pack is None:
        return None
    message = f"max_samples_per_pack is {cfg.max_samples_per_pack}, and wrapped fills every row to its last token"
    return Finding(("max_samples_per_pack",), message, "remove it, or set `packing_strategy: bfd`")


def _steps_of_kept_order(cfg: SftConfig) -> Finding | None:
    if cfg.packing_balance != "steps" or cfg.shuffle_merged_datasets:
        return None
    message = "packing_balance 'steps' exchanges rows between steps, and shuffle_merged_datasets: false keeps the order"
    return Finding(("packing_balance",), message, "set `packing_balance: attention`, which leaves each step its rows")


PACKING_RULES: tuple[Rule, ...] = (
    Rule("packing_is_off", (*_OF_PACKED_ROWS, "sample_packing"), _packing_is_off),
    Rule("split_without_pieces", ("packing_strategy", "excess_length_strategy"), _split_without_pieces),
    Rule("wrapped_rows_are_full", ("packing_strategy", "max_samples_per_pack"), _wrapped_rows_are_full),
    Rule("steps_of_kept_order", ("packing_balance", "shuffle_merged_datasets"), _steps_of_kept_order),
)
