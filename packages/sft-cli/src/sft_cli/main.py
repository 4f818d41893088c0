"""Entry point of `sft`: the group of commands and the one place where an error becomes an exit code.

    0    done
    1    a run that failed, or a fault in this program
    2    something for the user to mend: the config, the data, the command line
    75   training stopped before its end as it was told to, with a checkpoint to go on from
    130  stopped with Ctrl-C

Only click is imported here. A command's file is imported when that command is used, `sft_cli.failure` when
something failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example

COMMANDS = {
    "init": "Write a first config for your data, model and hardware.",
    "validate": "Check a config and show every mistake at once.",
    "preprocess": "Tokenise, mask and store the data; print an account of it.",
    "inspect": "Show which tokens of a packed row are trained.",
    "estimate": "Estimate memory and time of a run on any machines.",
    "train": "Fine-tune a model as the config says.",
    "evaluate": "Measure a trained model on held-out rows.",
    "compare": "Show runs side by side: outcome, settings, data.",
    "inference": "Chat with a trained model, or answer a file of prompts.",
    "merge": "Merge a trained adapter into its base model.",
    "merge-sharded": "Write a checkpoint in shards as one model.",
    "fetch": "Write the examples that come with the package.",
    "doctor": "Show what works on this machine, and what to do next.",
    "config": "Rewrite another system's config as one of ours.",
    "config-schema": "Print the JSON Schema of a config, for editors.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`, imported now; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"sft_cli.commands.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the table of commands from `COMMANDS`."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    epilog=example("sft validate config.yaml", "sft train config.yaml --set learning_rate=1e-4"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="sft-cli", prog_name="sft", message="%(prog)s %(version)s")
def cli() -> None:
    """Supervised fine-tuning of language models from one YAML file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        arguments: the command line without the program's name; None takes the process's own.
    """
    invocation = Invocation()
    try:
        cli.main(
            None if arguments is None else list(arguments),
            prog_name="sft",
            standalone_mode=False,
            obj=invocation,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo(f"stopped. {invocation.when_stopped()}", err=True)
        return 130
    except Exception as error:
        return import_module("sft_cli.failure").report(error, debug=invocation.debug)
    return invocation.exit_code
