"""The questions of `sft init` in a terminal; Enter takes the answer in brackets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sft_cli.console import messages
from sft_cli.starter.choose import choose_method
from sft_cli.starter.data import DataLook, look_at
from sft_cli.starter.hardware import Hardware, parse_hardware
from sft_cli.starter.model import look_at_model
from sft_cli.visible import visible
from sft_schema import DataError

_METHODS = ("lora", "qlora", "full")


def ask(given: dict[str, Any], hardware: Hardware) -> tuple[dict[str, Any], Hardware]:
    """Asks for what the flags left open.

    Args:
        given: the flags by name.
        hardware: what was given or found.

    Returns:
        Both with the answers in them.
    """
    answers = dict(given)
    console = messages()
    console.print("A few questions; Enter takes what is in brackets, Ctrl-C leaves.", style="bold")
    data = _ask_data(answers["data"])
    answers["data"] = data.path
    click.echo(visible(f"  {data.entry['type']}: {data.why}"), err=True)
    if answers["model"] is None:
        answers["model"] = _prompt("Base model, hub id or folder", "Qwen/Qwen3-0.6B")
    model = look_at_model(answers["model"], answers["size"])
    if model.billions is None:
        answers["size"] = click.prompt("Billions of weights", type=click.FloatRange(min=0, min_open=True), err=True)
        model = look_at_model(answers["model"], answers["size"])
    hardware = _ask_hardware(hardware)
    if answers["method"] is None:
        method, why = choose_method(model, hardware)
        click.echo(visible(f"  {why}"), err=True)
        answers["method"] = _ask_method(method)
    return answers, hardware


def _prompt(text: str, default: str) -> str:
    return click.prompt(text, default=default, err=True).strip()


def _ask_data(path: str | None) -> DataLook:
    """Asks until there is data that can be read."""
    while True:
        answer = path or _prompt("Data, file or folder or hub id", _first_data() or "train.jsonl")
        try:
            return look_at(answer)
        except DataError as error:
            if path is not None:
                raise
            click.echo(visible(str(error)), err=True)


def _first_data() -> str | None:
    """A file with rows in this folder, if there is one alone."""
    found = [each.name for each in Path().iterdir() if each.suffix in (".jsonl", ".parquet", ".csv")]
    return found[0] if len(found) == 1 else None


def _ask_hardware(hardware: Hardware) -> Hardware:
    default = "cpu" if not hardware.gpus else f"{hardware.gpus}x{hardware.gigabytes:.0f}GB"
    while True:
        try:
            return parse_hardware(_prompt("Hardware, as cpu, 24GB or 8x80GB", default))
        except ValueError as error:
            click.echo(visible(str(error)), err=True)


def _ask_method(default: str) -> str | None:
    """None where the choice was taken as it is, so that the config says why."""
    answer: str = click.prompt("Method", type=click.Choice(_METHODS), default=default, err=True)
    return None if answer == default else answer
