"""The config of a command, read from its file; what was read and left out is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from sft_cli.env import variables
from sft_cli.invocation import Invocation
from sft_schema import Issue, SftConfig
from sft_schema.errors import dotted
from sft_schema.load import load_config


def read_config(path: str, overrides: Sequence[str], note: Callable[[Issue], None] | None = None) -> SftConfig:
    """The checked config of a file.

    Args:
        path: the file.
        overrides: `key=value` texts.
        note: hears of keys that make no difference here; without it they are printed on standard error.

    Raises:
        ConfigError: with every problem of the file and the overrides.
    """
    invocation = click.get_current_context().find_object(Invocation)
    env = variables() if invocation is not None and invocation.env else None
    return load_config(path, overrides, note=note or _print, env=env)


def _print(issue: Issue) -> None:
    click.echo(f"note: {as_note(issue)}", err=True)


def as_note(issue: Issue) -> str:
    """One line on a key that was left out: `run.yaml:7: eval_sample_packing: true (axolotl), not needed here: ...`."""
    place = issue.file if issue.line is None else f"{issue.file}:{issue.line}"
    return f"{place}: {dotted(issue.path)}: {issue.message}"
