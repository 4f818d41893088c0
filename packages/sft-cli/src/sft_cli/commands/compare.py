"""`sft compare`: several runs side by side."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example, json_option

if TYPE_CHECKING:
    from sft_cli.side_by_side import Line, Value

_LONGEST = 40


@click.command("compare", epilog=example("sft compare outputs/a outputs/b", "sft compare outputs/* --json"))
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def command(invocation: Invocation, runs: tuple[str, ...], as_json: bool, debug: bool) -> None:
    """Show the RUNS, folders of two or more, side by side: outcome, settings that differ, and data.

    A star marks the best value where one end is better. A run that has not ended is compared as far as it came.
    """
    invocation.debug = debug
    from sft_cli.run_folder import read_run
    from sft_cli.side_by_side import data, metrics, settings

    if len(runs) < 2:
        raise click.UsageError("give two runs or more")
    found = [read_run(each) for each in runs]
    tables = {"outcome": metrics(found), "settings": settings(found), "data": data(found)}
    if as_json:
        listed = {title: [asdict(line) for line in lines] for title, lines in tables.items()}
        click.echo(json.dumps({"runs": list(runs)} | listed, indent=2))
        return
    for title, lines in tables.items():
        _show(title, runs, lines)


def _show(title: str, runs: tuple[str, ...], lines: list[Line]) -> None:
    from sft_cli.visible import visible

    if not lines:
        click.echo(f"{title}: the same\n" if title == "settings" else f"{title}: not known\n")
        return
    rows = [(title, *runs)]
    for line in lines:
        rows.append((line.name, *(_cell(value, at in line.best) for at, value in enumerate(line.values))))
    shown = [tuple(visible(cell).replace("\n", " ") for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo()


def _cell(value: Value, best: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:,}" if isinstance(value, int) else f"{value:.5g}" if isinstance(value, float) else value
    return (f"{text[: _LONGEST - 1]}…" if len(text) > _LONGEST else text) + (" *" if best else "")
