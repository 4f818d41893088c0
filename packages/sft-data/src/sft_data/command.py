"""The `sft-data` command: preprocessing on a machine without torch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from sft_data.pack import lost_labels, plan_packs
from sft_data.prepare import prepare
from sft_schema import ConfigError, DataError, load_config


def main(argv: Sequence[str] | None = None) -> int:
    """Prepares the data of a config and prints the account as JSON.

    Args:
        argv: arguments; the process's own when None.

    Returns:
        0 when done, 2 when the config or the data is wrong.
    """
    parser = argparse.ArgumentParser(prog="sft-data", description="Prepare the data of a config, without torch.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("prepare", help="tokenise, mask and store", description="Tokenise, mask and store.")
    command.add_argument("config", help="YAML file")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    given = parser.parse_args(argv)
    try:
        cfg = load_config(given.config, given.set)
        prepared = prepare(cfg)
    except (ConfigError, DataError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    plan = plan_packs(prepared.train.lengths, cfg)
    account = prepared.manifest.model_dump(mode="json")
    account |= {
        "detected": list(prepared.detected),
        "folder": str(prepared.folder),
        "rows": len(plan),
        "efficiency": round(plan.efficiency, 4),
        "cuts": plan.cuts,
        "lost_labels": lost_labels(prepared.train, plan),
    }
    sys.stdout.write(json.dumps(account, indent=2) + "\n")
    return 0
