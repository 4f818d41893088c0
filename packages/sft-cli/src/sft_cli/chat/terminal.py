"""A chat in the terminal."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from threading import Event

import click

from sft_cli.chat.speaker import Ended, Message, Speaker
from sft_cli.visible import visible
from sft_schema import DataError

HELP = """\
/reset         begin a new conversation
/system TEXT   set the system message, and begin anew; without TEXT there is none
/help          show this
/quit          leave, as Ctrl-D does
A line that ends with \\ goes on in the next one. Ctrl-C ends an answer."""


class Chat:
    """A conversation with a model.

    Args:
        speaker: the model.
        system: a system message to begin with.
        remembers: whether earlier turns belong to the prompt; a model without a chat template has none.
    """

    def __init__(self, speaker: Speaker, system: str | None, *, remembers: bool = True) -> None:
        self._speaker, self._remembers = speaker, remembers
        self.messages: list[Message] = []
        self._begin(system)

    def run(self) -> None:
        """Asks until Ctrl-D or /quit."""
        with suppress(ImportError):
            import_module("readline")  # gives the prompt a history and keys to edit with
        while (line := _read_line()) is not None:
            name, _, rest = line.partition(" ")
            if name == "/quit":
                return
            if name == "/help":
                click.echo(HELP)
            elif name in ("/reset", "/system"):
                self._begin((rest.strip() or None) if name == "/system" else self._system)
                click.echo("(a new conversation)")
            elif name.startswith("/") and "/" not in name[1:]:
                click.echo(f"there is no {visible(name)}; /help shows what there is")
            elif line.strip():
                self.ask(line)

    def ask(self, text: str) -> None:
        """Prints the answer to a message while it is generated, and remembers both."""
        asked = [*self.messages, {"role": "user", "content": text}]
        answer: list[str] = []
        ended: Ended | None = None
        stream = self._speaker(asked, {}, Event())
        try:
            for piece in stream:
                if isinstance(piece, str):
                    answer.append(piece)
                    click.echo(shown(piece), nl=False)
                else:
                    ended = piece
        except KeyboardInterrupt:
            click.echo(" (stopped)", nl=False)
        except DataError as error:
            click.echo(visible(str(error)), err=True)
            return
        click.echo(" (cut off: max_new_tokens)" if ended is not None and ended.by == "length" else "")
        if self._remembers:
            self.messages = [*asked, {"role": "assistant", "content": "".join(answer)}]

    def _begin(self, system: str | None) -> None:
        self._system = system
        self.messages = [{"role": "system", "content": system}] if system else []


def shown(text: str) -> str:
    """Generated text that cannot change what the terminal does; tabs become spaces."""
    return visible(text.replace("\t", "    "))


def _read_line() -> str | None:
    """What the user types, several lines where they are joined; None at the end."""
    lines: list[str] = []
    while True:
        try:
            line = input("... " if lines else "you> ")
        except EOFError:
            click.echo()
            return None
        lines.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            return "\n".join(lines)
