"""The subcommands of `sft-data` and their options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sft_data.command.inspect import inspect_command
from sft_data.command.prepare import prepare_command
from sft_data.command.stats import stats_command
from sft_data.verify import verify_prepared
from sft_schema import ConfigError, DataError

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand. Results go to standard output, everything else to standard error.

    Args:
        argv: arguments; the process's own when None.

    Returns:
        0 when done, 2 when the config or the data is wrong, 130 when interrupted.
    """
    given = _parser().parse_args(argv)
    run: Command = given.run
    try:
        return run(given)
    except (ConfigError, DataError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; finished blocks are kept, run it again to go on\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser: Any = argparse.ArgumentParser(prog="sft-data", description="Prepare the data of a config, without torch.")
    commands: Any = parser.add_subparsers(required=True, metavar="COMMAND")
    prepare: Any = _with_config(
        commands, "prepare", prepare_command, "Tokenise, mask and store; print the account as JSON."
    )
    prepare.add_argument(
        "--shard", type=_share, metavar="I/N", help="do the I-th of N parts of the work (from 1); without it join them"
    )
    prepare.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="whose processes do the work: this machine's, or those of the Ray cluster of RAY_ADDRESS (default local)",
    )
    inspect: Any = _with_config(commands, "inspect", inspect_command, "Show packed rows, token by token.")
    inspect.add_argument("--count", type=int, default=1, metavar="N", help="show the first N rows (default 1)")
    inspect.add_argument("--row", type=int, metavar="N", help="show this row instead, from 0")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    stats: Any = _with_config(commands, "stats", stats_command, "Print rows, tokens, lengths, and how full rows get.")
    stats.add_argument("--json", action="store_true", help="print JSON")
    what = "Read all that is stored of a preparation, and name what is damaged."
    verify: Any = commands.add_parser("verify", help=what, description=what)
    verify.add_argument("folder", type=Path, help="a folder of dataset_prepared_path")
    verify.set_defaults(run=_verify)
    return parser


def _with_config(commands: Any, name: str, run: Command, what: str) -> Any:
    command = commands.add_parser(name, help=what, description=what)
    command.add_argument("config", help="YAML file")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    command.set_defaults(run=run)
    return command


def _share(text: str) -> tuple[int, int]:
    job, _, jobs = text.partition("/")
    if not (job.isdecimal() and jobs.isdecimal() and 1 <= int(job) <= int(jobs)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return int(job), int(jobs)


def _verify(given: argparse.Namespace) -> int:
    problems = verify_prepared(given.folder)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems:
        sys.stderr.write("    fix: delete the folder: the data is prepared again\n")
        return 2
    sys.stdout.write(f"{given.folder}: whole\n")
    return 0
