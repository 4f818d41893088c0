"""`sft inference`: a trained model asked in the terminal, by a file, or on a local page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example, json_option

if TYPE_CHECKING:
    from sft_cli.chat.speaker import Message
    from sft_train.answer import Answerer, End


@click.command(
    "inference",
    epilog=example(
        "sft inference outputs/run",
        'sft inference outputs/run --prompt "Hello" --temperature 0',
        "sft inference outputs/run --input prompts.jsonl --out answers.jsonl",
        "sft inference outputs/run --web",
    ),
)
@click.argument("source", type=click.Path())
@click.option("--prompt", help="Answer this message and end.")
@click.option("--input", "input_", type=click.Path(), help="Answer the prompts of this .jsonl or .txt file.")
@click.option("--out", type=click.Path(dir_okay=False), help="File for the answers to --input, which must not exist.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Prompts at once.")
@click.option("--web", is_flag=True, help="Serve a page to chat on, for this machine alone.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of --web; a free one.")
@click.option("--system", help="System message to begin with.")
@click.option("--temperature", type=click.FloatRange(min=0), help="0 takes the likeliest token each time.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Draw from the likeliest tokens alone.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@json_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def command(invocation: Invocation, source: str, as_json: bool, debug: bool, **given: Any) -> None:
    """Chat with the model in SOURCE in the terminal, or answer prompts and end.

    SOURCE is the output folder of a run, a checkpoint, a merged model, or the config of a run; a model or an adapter.
    Template, stop tokens and generation settings are the folder's own. Piped text is one message.
    """
    invocation.debug = debug
    invocation.when_stopped = lambda: "Answers that were written are whole."
    _check(given, as_json)
    from sft_train.answer import Answerer, Sampling, load_trained

    sampling = Sampling(given["max_new_tokens"], given["temperature"], given["top_p"])
    answerer = Answerer(load_trained(source), sampling)
    if given["system"] and not answerer.chats:
        raise click.UsageError("--system: the model has no chat template, and goes on with your text as it is")
    if given["input_"]:
        _batch(answerer, given, as_json)
    elif given["web"]:
        _serve(answerer, source, given["port"])
    elif given["prompt"] is not None or not sys.stdin.isatty():
        _once(
            answerer,
            sys.stdin.read().removesuffix("\n") if given["prompt"] is None else given["prompt"],
            given["system"],
            as_json,
        )
    else:
        _chat(answerer, source, given["system"])


def _check(given: Mapping[str, Any], as_json: bool) -> None:
    """Before a model is loaded: options that do not go together."""
    ways = [name for name, chosen in _WAYS.items() if given[chosen] not in (None, False)]
    if len(ways) > 1:
        raise click.UsageError(f"{' and '.join(ways)} are two ways to ask; choose one")
    if bool(given["input_"]) != bool(given["out"]):
        raise click.UsageError("--input and --out go together: prompts are read from one and answers written to other")
    if given["out"] and Path(given["out"]).exists():
        raise click.UsageError(f"--out: {given['out']} exists; choose another name")
    if as_json and not given["input_"] and given["prompt"] is None and sys.stdin.isatty():
        raise click.UsageError("--json goes with --prompt, --input or piped text")
    if as_json and given["web"]:
        raise click.UsageError("--json goes with --prompt, --input or piped text, not with --web")


_WAYS = {"--prompt": "prompt", "--input": "input_", "--web": "web"}


def _speaker(answerer: Answerer) -> Any:
    from sft_train.answer import Sampling

    def speak(messages: Sequence[Message], settings: Mapping[str, Any], stop: Event) -> Iterator[str | End]:
        own = answerer.sampling
        chosen = Sampling(
            settings.get("max_new_tokens", own.max_new_tokens),
            settings.get("temperature", own.temperature),
            settings.get("top_p", own.top_p),
        )
        return answerer.stream(messages, chosen, stop)

    return speak


def _chat(answerer: Answerer, source: str, system: str | None) -> None:
    from sft_cli.chat.terminal import Chat
    from sft_cli.visible import visible

    kind = "chat" if answerer.chats else "text that the model goes on with: it has no chat template"
    click.echo(visible(f"{source}, on {answerer.trained.device}: {kind}. /help shows commands, Ctrl-D leaves."))
    Chat(_speaker(answerer), system, remembers=answerer.chats).run()


def _once(answerer: Answerer, text: str, system: str | None, as_json: bool) -> None:
    from sft_cli.chat.terminal import shown

    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    pieces: list[str] = []
    for piece in answerer.stream(messages):
        if not isinstance(piece, str):
            end = {"ended_by": piece.by, "tokens": piece.tokens, "prompt_tokens": piece.prompt_tokens}
            click.echo(json.dumps({"answer": "".join(pieces), **end}, indent=2) if as_json else "")
        elif as_json:
            pieces.append(piece)
        else:
            click.echo(shown(piece), nl=False)


def _batch(answerer: Answerer, given: Mapping[str, Any], as_json: bool) -> None:
    from sft_cli.chat.batch import answer_all, read_questions
    from sft_cli.visible import visible

    questions = read_questions(Path(given["input_"]), given["system"])

    def tell(done: int) -> None:
        click.echo(f"{done} of {len(questions)} answered", err=True)

    with Path(given["out"]).open("x", encoding="utf-8") as out:
        compared, exact = answer_all(questions, answerer.answers, out, given["batch_size"], tell)
    if as_json:
        found = {"file": given["out"], "answers": len(questions), "compared": compared, "exact": exact}
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(visible(f"wrote    {given['out']}, {len(questions)} answers"))
    if compared:
        click.echo(f"exact    {exact} of {compared}, compared with the last answers of the conversations")


def _serve(answerer: Answerer, source: str, port: int) -> None:
    from sft_cli.chat.server import ChatServer

    with ChatServer(_speaker(answerer), Path(source).name, port, remembers=answerer.chats) as server:
        click.echo(f"open {server.address} in a browser on this machine; Ctrl-C ends")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo()
