"""`sft fetch`: files that come with the package, written out."""

from __future__ import annotations

import json
import shlex
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example, json_option

_OWN = "examples"
"""The folder that the paths in the configs begin with."""


@click.command("fetch", epilog=example("sft fetch examples", "sft fetch examples --out tries", "sft fetch --json"))
@click.argument("what", type=click.Choice([_OWN]), default=_OWN)
@click.option("--out", type=click.Path(file_okay=False), default=_OWN, show_default=True, help="Folder to write to.")
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def command(invocation: Invocation, what: str, out: str, as_json: bool, debug: bool) -> None:
    """Write the examples of this project to a folder: configs, and model and data of the quickstart.

    Nothing is downloaded: they come with the package. A file that is there and differs is not written over.
    """
    invocation.debug = debug
    found = {path: _content(file, path, out) for path, file in _files(resources.files("sft_cli") / what, Path())}
    folder = Path(out)
    changed = [str(folder / path) for path, data in found.items() if _differs(folder / path, data)]
    if changed:
        raise click.UsageError(f"{', '.join(changed)} would be written over; give another folder with --out")
    for path, data in found.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    configs = sorted(str(folder / path) for path in found if path.suffix == ".yaml")
    if as_json:
        click.echo(json.dumps({"folder": out, "files": sorted(map(str, found)), "configs": configs}, indent=2))
        return
    click.echo(f"wrote  {len(found)} files to {out}")
    for config in configs:
        click.echo(f"       sft train {shlex.quote(config)}")


def _files(folder: Traversable, path: Path) -> list[tuple[Path, Traversable]]:
    """All files below a folder of the package, by their path in it."""
    found: list[tuple[Path, Traversable]] = []
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        inner = path / each.name
        found += _files(each, inner) if each.is_dir() else [(inner, each)]
    return found


def _content(file: Traversable, path: Path, out: str) -> bytes:
    """A file's bytes; a config names its files as they will be, and no schema of the repository."""
    data = file.read_bytes()
    if path.suffix != ".yaml":
        return data
    lines = data.decode("utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith("# yaml-language-server:"))
    return kept.replace("uv run sft", "sft").replace(f"{_OWN}/", f"{Path(out).as_posix()}/").encode()


def _differs(path: Path, data: bytes) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != data)
