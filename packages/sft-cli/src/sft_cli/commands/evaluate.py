"""`sft evaluate`: a trained model measured on held-out rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sft_cli.options import config_options, example, json_option

if TYPE_CHECKING:
    from sft_train.examine import Examined


@click.command(
    "evaluate",
    epilog=example(
        "sft evaluate outputs/run",
        "sft evaluate outputs/run/checkpoint-200 --set do_causal_lm_eval=true",
        "sft evaluate outputs/run --set 'test_datasets=[{path: other.jsonl}]' --set val_set_size=0 --json",
    ),
)
@config_options
@json_option
@click.option("--show", type=click.IntRange(min=0), default=3, show_default=True, help="Generated answers to show.")
def command(config: str, overrides: tuple[str, ...], as_json: bool, show: int) -> None:
    """Measure the model in CONFIG, the folder of a run or its config, on the held-out rows of its run.

    Loss and perplexity per trained token; with `--set do_causal_lm_eval=true` answers are generated as well, and
    compared with those wanted. Nothing is trained. Other rows, another batch size and the like are given with --set.
    """
    from sft_cli.config_file import read_config
    from sft_cli.console import messages
    from sft_cli.run_folder import config_of

    file, folder = config_of(config)
    cfg = read_config(file, overrides)
    from sft_train.examine import examine

    console = messages()
    found = examine(folder or Path(cfg.output_dir), cfg, console.print)
    if as_json:
        rows = found.rows.model_dump(mode="json")
        click.echo(json.dumps(asdict(found) | {"folder": str(found.folder), "rows": rows}, indent=2))
        return
    _show(found, show)


def _show(found: Examined, show: int) -> None:
    from sft_cli.account import percent
    from sft_cli.visible import visible

    for each in found.answers[:show]:
        for name, text in (("prompt", each.prompt), ("wanted", each.wanted), ("answer", each.answer)):
            shown = visible(text.strip("\n")).replace("\n", "\n        ")
            click.echo(f"{name:<8}{shown}")
        click.echo()
    click.echo(f"loss         {found.loss:.4f}  per trained token, {found.rows.trained_tokens:,} of them")
    click.echo(f"perplexity   {found.perplexity:.4g}")
    if found.exact_match is not None:
        click.echo(f"exact match  {percent(found.exact_match)}  of {len(found.answers):,} answers")
    click.echo(f"samples      {found.rows.rows_out:,} of {found.rows.rows_in:,} rows")
