"""Prompts from a file, answers to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, cast

from sft_cli.chat.speaker import Message
from sft_schema import DataError

_FIX = 'write {"messages": [...]} or {"prompt": "..."} on each line, or plain prompts into a .txt file'


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt of a file.

    Attributes:
        row: what stands on its line.
        messages: the conversation up to where the answer begins: a last answer is left out, and only compared with.
        wanted: that last answer, or None.
    """

    row: dict[str, Any]
    messages: list[Message]
    wanted: str | None


def read_questions(file: Path, system: str | None) -> list[Question]:
    """The prompts of a .jsonl file, or the lines of a .txt file.

    Args:
        file: see above.
        system: a system message for those without one.

    Raises:
        DataError: it cannot be read, or a line is no prompt.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(file), fix="check the path; the text is UTF-8") from None
    plain = file.suffix == ".txt"
    found = [
        _question({"prompt": line} if plain else _parsed(line, f"{file}:{number}"), f"{file}:{number}", system)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not found:
        raise DataError("there are no prompts in it", where=str(file), fix=_FIX)
    return found


def answer_all(
    questions: Sequence[Question],
    answers: Callable[[list[list[Message]]], list[str]],
    out: TextIO,
    size: int,
    tell: Callable[[int], None],
) -> tuple[int, int]:
    """Writes each row with its answer, in order and whole batches at a time, so that a killed run leaves whole lines.

    Args:
        questions: see `read_questions`.
        answers: the model, many conversations at once.
        out: gets one JSON object a line: the row and `answer`, and `exact` where there is an answer to compare with.
        size: questions of a batch.
        tell: hears how many are answered.

    Returns:
        How many answers were to be compared, and how many of them are exact, white space at the ends aside.
    """
    compared = exact = done = 0
    for batch in _batches(questions, size):
        for question, answer in zip(batch, answers([each.messages for each in batch]), strict=True):
            row = question.row | {"answer": answer}
            if question.wanted is not None:
                row["exact"] = answer.strip() == question.wanted.strip()
                compared, exact = compared + 1, exact + row["exact"]
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        out.flush()
        done += len(batch)
        tell(done)
    return compared, exact


def _batches(questions: Sequence[Question], size: int) -> Iterator[list[Question]]:
    left = iter(questions)
    while batch := list(islice(left, size)):
        yield batch


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"no JSON: {error}", where=where, fix=_FIX) from None
    if not isinstance(row, dict):
        raise DataError(f"a {type(row).__name__}, not an object", where=where, fix=_FIX)
    return cast("dict[str, Any]", row)


def _question(row: dict[str, Any], where: str, system: str | None) -> Question:
    if isinstance(row.get("prompt"), str):
        messages: list[Message] = [{"role": "user", "content": row["prompt"]}]
    else:
        messages = _messages(row.get("messages"), where)
    wanted = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
    if not messages:
        raise DataError("a conversation that begins with the answer", where=where, fix=_FIX)
    if system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return Question(row, messages, wanted)


def _messages(value: object, where: str) -> list[Message]:
    found = cast("list[dict[str, Any]]", value) if isinstance(value, list) else []
    whole = all(
        isinstance(each, dict)  # pyright: ignore[reportUnnecessaryIsInstance]
        and isinstance(each.get("role"), str)
        and isinstance(each.get("content"), str)
        for each in found
    )
    if not found or not whole:
        raise DataError("neither a text in 'prompt' nor a list of messages in 'messages'", where=where, fix=_FIX)
    return [dict(each) for each in found]
