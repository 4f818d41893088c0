"""`sft-data stats`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

from sft_data.command.prepare import prepared_data
from sft_data.pack import plan_packs
from sft_data.prepare import Prepared
from sft_schema import SftConfig

_QUANTILES = {"shortest": 0.0, "median": 0.5, "90%": 0.9, "99%": 0.99, "longest": 1.0}


def stats_command(given: argparse.Namespace) -> int:
    """Prints rows and tokens of each data set, lengths of samples, and how full packed rows get."""
    cfg, prepared = prepared_data(given)
    found = stats_of(cfg, prepared)
    sys.stdout.write(json.dumps(found, indent=2) + "\n" if given.json else _text(found))
    return 0


def stats_of(cfg: SftConfig, prepared: Prepared) -> dict[str, Any]:
    """The same as JSON values; lengths are tokens, shares are from 0 to 1."""
    plan = plan_packs(prepared.train.lengths, cfg)
    splits: dict[str, Any] = {}
    for name, store in (("train", prepared.train), ("eval", prepared.eval)):
        if store is None:
            continue
        counts = prepared.manifest.splits[name]
        splits[name] = {
            "samples": len(store),
            "tokens": counts.tokens,
            "trained_share": round(counts.trained_tokens / max(1, counts.tokens), 4),
            "lengths": {each: int(np.quantile(store.lengths, at, method="lower")) for each, at in _QUANTILES.items()},
            "datasets": {
                path: {
                    "rows_in": each.rows_in,
                    "rows_out": each.rows_out,
                    "dropped": each.dropped,
                    "tokens": each.tokens,
                    "trained_share": round(each.trained_tokens / max(1, each.tokens), 4),
                }
                for path, each in counts.datasets.items()
            },
        }
    return {"splits": splits, "rows": len(plan), "efficiency": round(plan.efficiency, 4)}


def _text(found: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, split in found["splits"].items():
        lengths = ", ".join(f"{each} {length:,}" for each, length in split["lengths"].items())
        lines += [
            f"{name}: {split['samples']:,} samples, {split['tokens']:,} tokens, {split['trained_share']:.1%} trained",
            f"  tokens a sample: {lengths}",
        ]
        for path, each in split["datasets"].items():
            dropped = ", ".join(f"{count:,} {reason}" for reason, count in each["dropped"].items()) or "none"
            lines.append(
                f"  {path}: {each['rows_in']:,} rows, {each['rows_out']:,} samples kept, dropped: {dropped}; "
                f"{each['tokens']:,} tokens, {each['trained_share']:.1%} trained"
            )
    lines.append(f"{found['rows']:,} rows to train on in an epoch, {found['efficiency']:.1%} full")
    return "\n".join(lines) + "\n"
