"""`sft merge`: an adapter and its base model as one model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example, json_option

if TYPE_CHECKING:
    from sft_train.export import Merged, Verification


@click.command(
    "merge",
    epilog=example("sft merge config.yaml --out merged --verify", "sft merge outputs/run/checkpoint-200 --out merged"),
)
@click.argument("source", type=click.Path())
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder to write the merged model to.")
@click.option(
    "--verify", is_flag=True, help="Compare outputs, tokenizer and stop tokens with the adapter's afterwards."
)
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def command(invocation: Invocation, source: str, out: str, verify: bool, as_json: bool, debug: bool) -> None:
    """Merge the adapter in SOURCE into its base model, file by file, and write a model that needs no peft.

    SOURCE is the config of a run, its output folder or a checkpoint. A base model that the run had in 4 or 8 bits is
    rounded in the same way first. Exit code 1: with --verify, the merged model is not the one that was trained.
    """
    invocation.debug = debug
    from sft_cli.visible import visible
    from sft_train.compute import Compute
    from sft_train.export import adapter_run, merge_adapter, read_adapter, read_base, verify_merge
    from sft_train.model import quantisation

    cfg, folder = adapter_run(source)
    adapter = read_adapter(folder)
    base = read_base(adapter.base, adapter.revision or (cfg and cfg.revision_of_model))
    quantised = None if cfg is None else quantisation(cfg, Compute(bf16=False, use_cpu=True))
    merged = merge_adapter(adapter, base, Path(out), quantised)
    found = verify_merge(adapter, base, merged.folder, quantised) if verify else None
    invocation.exit_code = 1 if found is not None and not found.same else 0
    if as_json:
        checked = None if found is None else asdict(found) | {"same": found.same}
        click.echo(json.dumps(asdict(merged) | {"folder": str(merged.folder), "verification": checked}, indent=2))
        return
    click.echo(visible(_written(merged)))
    if found is not None:
        click.echo(visible(_compared(found)))


def _written(merged: Merged) -> str:
    files = "1 file" if merged.files == 1 else f"{merged.files} files"
    rounded = f", {merged.rounded} as rounded by the quantised run" if merged.rounded else ""
    return f"merged    {merged.changed} of {merged.weights} weights{rounded}, {files}\nmodel     {merged.folder}"


def _compared(found: Verification) -> str:
    lines = [
        f"verified  logits differ by {found.difference:.1e} of the largest (up to {found.allowed:.0e} is rounding; the "
        f"adapter itself makes {found.effect:.1e}), {found.agreement:.1%} of the most likely tokens agree",
        *(f"differs   {each}" for each in found.mismatches),
    ]
    if not found.same:
        lines.append("NOT THE SAME: do not use the merged model in place of the adapter; report what is shown here")
    return "\n".join(lines)
