"""`sft-data prepare`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from sft_data.pack import lost_labels, plan_packs
from sft_data.prepare import Prepared, prepare, prepare_share
from sft_data.progress import Pace, Progress
from sft_schema import DataError, SftConfig, load_config

_SECONDS_BETWEEN_LINES = 10.0


def prepare_command(given: argparse.Namespace) -> int:
    """Prepares the data of a config, or one share of the work, and prints what was done as JSON."""
    cfg = load_config(given.config, given.set)
    if given.shard:
        if given.engine != "local":
            fix = "leave one of them out: a cluster shares out the work by itself"
            raise DataError("`--shard` and `--engine ray` are two ways to share out the work", where="command", fix=fix)
        job, jobs = given.shard
        _print({"shard": f"{job}/{jobs}", "blocks": prepare_share(cfg, job, jobs, progress_lines())})
        return 0
    prepared = prepare(cfg, progress_lines(), engine=given.engine)
    plan = plan_packs(prepared.train.lengths, cfg)
    _print(
        prepared.manifest.model_dump(mode="json", exclude={"shards"})
        | {
            "detected": list(prepared.detected),
            "folder": str(prepared.folder),
            "rows": len(plan),
            "efficiency": round(plan.efficiency, 4),
            "cuts": plan.cuts,
            "lost_labels": lost_labels(prepared.train, plan),
        }
    )
    return 0


def _print(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values, indent=2) + "\n")


def progress_lines() -> Callable[[Progress], None]:
    """Writes progress to standard error: in place in a terminal, else a line now and then."""
    pace, live = Pace(), sys.stderr.isatty()
    said = [-_SECONDS_BETWEEN_LINES, 0.0]

    def notify(progress: Progress) -> None:
        now, line = time.monotonic(), pace.line(progress)
        if live:
            sys.stderr.write(f"\r\x1b[2K{line}")
            sys.stderr.flush()
        elif now - said[0] >= _SECONDS_BETWEEN_LINES:
            said[0] = now
            sys.stderr.write(f"{line}\n")

    return notify


def prepared_data(given: argparse.Namespace) -> tuple[SftConfig, Prepared]:
    """The config of a command line and its data, prepared if they are not yet."""
    cfg = load_config(given.config, given.set)
    return cfg, prepare(cfg, progress_lines())
