"""`sft config-schema`: the JSON Schema of a config."""

from __future__ import annotations

import click

from sft_cli.options import example


@click.command(
    "config-schema",
    epilog=example(
        "sft config-schema > config.schema.json",
        "",
        "and as the first line of a config beside it:",
        "# yaml-language-server: $schema=config.schema.json",
    ),
)
def command() -> None:
    """Print the JSON Schema (draft 2020-12) of a config file to standard output, and nothing else there.

    An editor that speaks YAML completes keys with it, shows their documentation and underlines mistakes.
    """
    from sft_schema.jsonschema import schema_text

    click.echo(schema_text(), nl=False)
