"""`sft validate`: every mistake of a config at once, or a summary of what it says and what is unusual about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from sft_cli.invocation import Invocation
from sft_cli.options import config_options, example, json_option

if TYPE_CHECKING:
    from sft_schema import Issue, SftConfig


@click.command(
    "validate", epilog=example("sft validate config.yaml", "sft validate config.yaml --set lora_r=32 --json")
)
@config_options
@json_option
@click.pass_obj
def command(invocation: Invocation, config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check CONFIG without loading a model or data: every mistake is shown, with file, line and fix.

    Of a valid config, what it says is shown, under "advice" what lies outside the usual ranges, and under "note"
    which keys of other systems make no difference here.
    """
    from sft_cli.config_file import as_note, read_config
    from sft_schema.advice import advice
    from sft_schema.errors import ConfigError, dotted

    notes: list[Issue] = []
    try:
        cfg = read_config(config, overrides, note=notes.append)
    except ConfigError as error:
        if not as_json:
            raise
        issues = [
            {"code": issue.code, "key": dotted(issue.path), "message": issue.message, "fix": issue.fix}
            | {"file": issue.file, "line": issue.line, "column": issue.column}
            for issue in error.issues
        ]
        click.echo(json.dumps({"ok": False, "issues": issues}, indent=2))
        invocation.exit_code = 2
        return
    unusual = advice(cfg)
    if as_json:
        listed = [
            {"code": each.code, "key": dotted(each.path), "value": each.value, "range": each.range}
            | {"message": each.message}
            for each in unusual
        ]
        noted = [{"key": dotted(each.path), "line": each.line, "message": each.message} for each in notes]
        found = {"ok": True, "config": cfg.model_dump(mode="json"), "advice": listed, "notes": noted}
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"OK  {config}")
    said = [("advice", each.message) for each in unusual] + [("note", as_note(each)) for each in notes]
    for name, text in (*_summary(cfg), *said):
        click.echo(f"    {name:<10}{text}")


def _summary(cfg: SftConfig) -> list[tuple[str, str]]:
    from sft_schema.config import accumulation_steps

    weights = "random weights, " if cfg.reinit_weights else ""
    trained = f"LoRA r {cfg.lora_r}, alpha {cfg.lora_alpha}" if cfg.adapter else "all weights trained"
    rows = cfg.micro_batch_size * accumulation_steps(cfg)
    length = f"{cfg.max_steps} steps" if cfg.max_steps else f"{cfg.num_epochs:g} epochs"
    packed = "packed" if cfg.sample_packing else "one sample a row"
    return [
        ("model", f"{cfg.base_model}: {weights}{trained}"),
        ("train on", ", ".join(f"{dataset.path} ({dataset.type})" for dataset in cfg.datasets)),
        ("evaluate", _evaluation(cfg)),
        ("rows", f"{cfg.sequence_len} tokens, {packed}, {cfg.attn_implementation} attention"),
        ("steps", f"{length}, {rows} rows a step on each device"),
        ("optimizer", f"{cfg.optimizer}, {cfg.learning_rate:g} at its peak, {cfg.lr_scheduler}"),
        ("output", cfg.output_dir),
    ]


def _evaluation(cfg: SftConfig) -> str:
    if cfg.test_datasets:
        return ", ".join(dataset.path for dataset in cfg.test_datasets)
    return f"{cfg.val_set_size:g} of the training rows" if cfg.val_set_size else "nothing"
