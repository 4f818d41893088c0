"""`sft preprocess`: tokenises and stores the data, and accounts for every row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sft_cli.options import config_options, example, json_option

if TYPE_CHECKING:
    from sft_data import Prepared
    from sft_schema.record import PackPlan


@click.command("preprocess", epilog=example("sft preprocess config.yaml", "sft preprocess config.yaml --json"))
@config_options
@json_option
def command(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Read, render, mask and tokenise the data of CONFIG, store the result, and account for every row.

    Training with the same settings and data finds the result and does not do it again.
    """
    from sft_cli.account import account_text
    from sft_cli.config_file import read_config
    from sft_cli.console import messages
    from sft_cli.progress import preparing
    from sft_cli.visible import visible
    from sft_data import lost_labels, plan_packs, prepare

    cfg = read_config(config, overrides)
    with preparing(messages()) as notify:
        prepared = prepare(cfg, notify)
    plan = plan_packs(prepared.train.lengths, cfg, epoch=0, shuffle=cfg.shuffle_merged_datasets)
    lost = lost_labels(prepared.train, plan)
    if as_json:
        click.echo(json.dumps(_account(prepared, plan, lost), indent=2))
        return
    for sentence in prepared.detected:
        click.echo(visible(sentence))
    click.echo(visible(account_text(prepared.manifest, plan, lost)))
    click.echo(f"turns end with: {visible(' '.join(prepared.manifest.stop_tokens)) or 'no token'}")
    click.echo(f"stored in:      {visible(str(prepared.folder))}")
    click.echo(f"rows set aside: {visible(_quarantine(prepared) or 'listed where the data were prepared')}")


def _quarantine(prepared: Prepared) -> str | None:
    """The list of rows set aside; a copy from the hub comes without it."""
    file = prepared.folder / "quarantine.jsonl"
    return str(file) if file.is_file() else None


def _account(prepared: Prepared, plan: PackPlan, lost: int) -> dict[str, Any]:
    return {
        "folder": str(prepared.folder),
        "quarantine": _quarantine(prepared),
        "detected": list(prepared.detected),
        "manifest": prepared.manifest.model_dump(mode="json"),
        "packing": {
            "rows": len(plan),
            "samples": len(plan.samples) - plan.cuts,
            "tokens": plan.tokens,
            "sequence_len": plan.sequence_len,
            "efficiency": plan.efficiency,
            "cuts": plan.cuts,
            "lost_labels": lost,
        },
    }
