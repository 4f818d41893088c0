"""`sft inspect`: the tokens of packed training rows, and which of them are trained."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from sft_cli.options import config_options, example, json_option


@click.command(
    "inspect",
    epilog=example(
        "sft inspect config.yaml", "sft inspect config.yaml --row 7", "sft inspect config.yaml --count 3 --json"
    ),
)
@config_options
@json_option
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="Show the first COUNT rows.")
@click.option("--row", type=click.IntRange(min=0), default=None, help="Show this row instead, counted from 0.")
def command(config: str, overrides: tuple[str, ...], as_json: bool, count: int, row: int | None) -> None:
    """Show packed training rows of CONFIG token by token: trained or masked, and of which message."""
    from sft_cli.config_file import read_config
    from sft_cli.console import messages, results
    from sft_cli.progress import preparing
    from sft_cli.token_view import legend, print_row
    from sft_data import inspect_rows, prepare

    cfg = read_config(config, overrides)
    with preparing(messages()) as notify:
        prepare(cfg, notify)
    rows = inspect_rows(cfg, count=count, row=row)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in rows], indent=1))
        return
    console = results()
    console.print(legend(plain=not console.is_terminal), soft_wrap=True)
    for each in rows:
        console.print()
        print_row(console, each)
