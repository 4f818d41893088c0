"""The argument and the options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from sft_cli.invocation import Invocation

F = TypeVar("F", bound=Callable[..., Any])


def example(*lines: str) -> str:
    """Command lines as the end of a help text; click keeps the lines after a backspace as they are."""
    return "\n".join(("\b", "Example:", *(f"  {line}" for line in lines)))


def _set_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Invocation).debug = value


def _set_env(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Invocation).env = value


def config_options(function: F) -> F:
    """Adds CONFIG, `--set key=value` (any number of times), `--env` and `--debug`."""
    for decorate in (
        click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_set_debug,
            help="Show the traceback of an error.",
        ),
        click.option(
            "--env",
            is_flag=True,
            expose_value=False,
            callback=_set_env,
            help="Let ${NAME} in CONFIG stand for an environment variable.",
        ),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Replace a setting; the value is read as YAML. May be given several times.",
        ),
        click.argument("config", type=click.Path()),
    ):
        function = decorate(function)
    return function


def json_option(function: F) -> F:
    """Adds `--json`."""
    text = "Print JSON to standard output, and nothing else there."
    return click.option("--json", "as_json", is_flag=True, help=text)(function)
