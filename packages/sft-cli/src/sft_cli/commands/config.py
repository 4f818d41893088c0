"""`sft config import`: a config of another system, rewritten as one of ours."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example, json_option

if TYPE_CHECKING:
    from sft_schema.migrate import Change, Migration, Source, Unsupported


@click.group("config", epilog=example("sft config import axolotl.yaml --out config.yaml"))
def command() -> None:
    """Rewrite a config of axolotl, TRL or LLaMA-Factory as one of ours."""


@command.command(
    "import",
    epilog=example(
        "sft config import axolotl.yaml > config.yaml",
        "sft config import trl.yaml --from trl --out config.yaml",
    ),
)
@click.argument("file", type=click.Path())
@click.option(
    "--from",
    "source",
    type=click.Choice(["auto", "axolotl", "trl", "llamafactory"]),
    default="auto",
    show_default=True,
    help="Whose config it is; auto tells by its keys.",
)
@click.option("--out", type=click.Path(dir_okay=False), help="Write the new config to this file, which must not exist.")
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def import_(invocation: Invocation, file: str, source: Source, out: str | None, as_json: bool, debug: bool) -> None:
    """Rewrite FILE, a config of another system, as one of ours, and print it to standard output.

    What changed and what could not be carried over is listed on standard error. Exit code 0: all of it was carried
    over. 2: something was not; the new file is valid, and names it in comments.
    """
    from sft_schema.migrate import migrate
    from sft_schema.yaml_source import read_text

    invocation.debug = debug
    if out is not None and Path(out).exists():
        raise click.UsageError(f"{out} exists; choose another name for the new file")
    found = migrate(read_text(file), source, file=file)
    if out is not None:
        Path(out).write_text(found.text, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=2))
    else:
        _show(found, file, out)
    invocation.exit_code = 2 if found.unsupported else 0


def _as_json(found: Migration) -> dict[str, Any]:
    """All of it; values are YAML, which has numbers that JSON lacks."""
    from sft_schema.foreign.flow import flow

    listed = [{**asdict(each), "value": flow(each.value)} for each in found.unsupported]
    return {**asdict(found), "unsupported": listed}


def _show(found: Migration, file: str, out: str | None) -> None:
    from sft_cli.visible import visible

    click.echo(visible(f"{file}: a config for {found.source} ({found.why})"), err=True)
    _show_list("changed", [_changed(each) for each in found.changed])
    _show_list("not carried over", [_unsupported(each) for each in found.unsupported])
    if out is None:
        click.echo(found.text, nl=False)
    else:
        click.echo(visible(f"written to {out}"), err=True)


def _show_list(title: str, entries: list[str]) -> None:
    from sft_cli.visible import visible

    click.echo(f"{title}: {len(entries) or 'nothing'}", err=True)
    for entry in entries:
        click.echo(visible(entry), err=True)


def _changed(each: Change) -> str:
    place = "     -" if each.line is None else f"{each.line:6}"
    arrow = f"{each.before} -> {each.after or 'left out'}" if each.before else each.after
    return f"{place}  {arrow}" + (f"  ({each.why})" if each.why else "")


def _unsupported(each: Unsupported) -> str:
    from sft_schema.foreign.flow import short

    place = "     -" if each.line is None else f"{each.line:6}"
    value = "" if each.value is None else f": {short(each.value)}"
    return f"{place}  {each.key}{value}: {each.reason}\n            fix: {each.nearest}"
