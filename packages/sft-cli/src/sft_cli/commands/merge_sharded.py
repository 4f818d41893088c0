"""`sft merge-sharded`: a checkpoint that each process wrote a part of as one model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example, json_option


@click.command("merge-sharded", epilog=example("sft merge-sharded outputs/run/checkpoint-200 --out model"))
@click.argument("source", type=click.Path())
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder to write the model to.")
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def command(invocation: Invocation, source: str, out: str, as_json: bool, debug: bool) -> None:
    """Write the checkpoint SOURCE, which is in shards (`state_dict_type: SHARDED_STATE_DICT`), as one model.

    SOURCE may be an output folder too: its newest checkpoint is taken then.
    """
    invocation.debug = debug
    from sft_cli.visible import visible
    from sft_train.export import merge_shards

    merged = merge_shards(Path(source), Path(out))
    if as_json:
        texts = {"folder": str(merged.folder), "source": str(merged.source)}
        click.echo(json.dumps(asdict(merged) | texts, indent=2))
        return
    click.echo(visible(f"merged    {merged.weights} weights of {merged.source}\nmodel     {merged.folder}"))
