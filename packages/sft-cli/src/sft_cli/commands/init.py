"""`sft init`: a first config, from a look at the data, the model and the hardware."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example, json_option

if TYPE_CHECKING:
    from sft_cli.starter import Hardware, Plan
    from sft_schema.advice import Method


@click.command(
    "init",
    epilog=example(
        "sft init",
        "sft init run.yaml --data chats.jsonl --model Qwen/Qwen3-0.6B --hardware 24GB",
        "sft init - --data chats.jsonl --model Qwen/Qwen3-8B --method qlora > run.yaml",
    ),
)
@click.argument("config", type=click.Path(dir_okay=False, allow_dash=True), default="config.yaml")
@click.option("--data", help="Rows to train on: file, folder, glob, address or hub id.")
@click.option("--test-data", help="Rows to evaluate on; without it some of the others are held out.")
@click.option("--model", help="Base model: hub id or folder.")
@click.option("--size", type=click.FloatRange(min=0, min_open=True), help="Billions of weights, if its name is silent.")
@click.option("--method", type=click.Choice(["lora", "qlora", "full"]), help="What to train; chosen by size and GPU.")
@click.option("--hardware", help="`cpu`, `24GB` or `8x80GB`; looked up on this machine.")
@click.option("--force", is_flag=True, help="Write over CONFIG if it exists.")
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def command(invocation: Invocation, config: str, as_json: bool, force: bool, debug: bool, **given: Any) -> None:
    """Write CONFIG (config.yaml), a commented config for your data, model and hardware; `-` prints it.

    What is not given is asked for in a terminal. The data are looked at to tell their format and length; method and
    hyper-parameters are the usual ones for the size of the model. Nothing is downloaded but data of the hub.
    """
    invocation.debug = debug
    invocation.when_stopped = lambda: "Nothing was written."
    if config != "-" and Path(config).exists() and not force:
        raise click.UsageError(f"{config} exists; give another name, or --force to write over it")
    hardware = _hardware(given.pop("hardware"))
    if sys.stdin.isatty() and not (given["data"] and given["model"]) and not as_json:
        from sft_cli.starter.ask import ask

        given, hardware = ask(given, hardware)
    if missing := [f"--{name}" for name in ("data", "model") if not given[name]]:
        raise click.UsageError(f"{' and '.join(missing)} must be given where nobody can be asked")
    plan, text = _written(given, hardware, config)
    if config != "-":
        Path(config).write_text(text, encoding="utf-8")
    if as_json:
        settings = [{"key": each.key, "value": each.value, "why": each.why} for each in plan.settings]
        found = {"file": None if config == "-" else config, "method": plan.method, "hardware": str(hardware)}
        click.echo(json.dumps(found | {"settings": settings, "notes": plan.notes, "text": text}, indent=2))
        return
    _show(plan, text, config)


def _hardware(text: str | None) -> Hardware:
    from sft_cli.starter import found_here, parse_hardware

    try:
        return found_here() if text is None else parse_hardware(text)
    except ValueError as error:
        raise click.UsageError(f"--hardware: {error}") from None


def _written(given: dict[str, Any], hardware: Hardware, config: str) -> tuple[Plan, str]:
    """The plan and its text, which is checked as `sft validate` checks it."""
    from sft_cli.starter import config_text, look_at, look_at_model, plan
    from sft_schema import parse_config

    method: Method | None = given["method"]
    test = look_at(given["test_data"]) if given["test_data"] else None
    found = plan(look_at(given["data"]), test, look_at_model(given["model"], given["size"]), hardware, method)
    text = config_text(found, "config.yaml" if config == "-" else shlex.quote(config))
    parse_config(text, file=config)
    return found, text


def _show(plan: Plan, text: str, config: str) -> None:
    from sft_cli.visible import visible

    if config == "-":
        click.echo(text, nl=False)
    for note in plan.notes:
        click.echo(visible(f"note: {note}"), err=True)
    if config == "-":
        return
    (title,) = (each for each, _ in plan.sections if each.startswith("Method"))
    click.echo(visible(f"wrote     {config}\n{'method':<10}{title.removeprefix('Method: ')}"))
    for each in plan.settings:
        if each.key in ("datasets", "sequence_len", "num_epochs", "learning_rate"):
            click.echo(visible(f"{_NAMES[each.key]:<10}{_said(each.value, each.why)}"))
    file = shlex.quote(config)
    click.echo(f"next      sft preprocess {file}   then sft inspect {file} and sft train {file}")


_NAMES = {"datasets": "data", "sequence_len": "rows", "num_epochs": "epochs", "learning_rate": "rate"}


def _said(value: Any, why: str) -> str:
    return f"{value[0]['path']}: {value[0]['type']}; {why}" if isinstance(value, list) else f"{value}; {why}"
