"""What a config has to say about a data set: its format, and how long and how many its rows are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sft_data import Peek, peek
from sft_schema import DataError
from sft_schema.config import SourceConfig

CHARACTERS_PER_TOKEN = 3
"""Fewer than the 4 of English prose, so that lengths are rather over- than underestimated."""

_FEW_ROLES = 6
_KNOWN_KEYS = ({"role", "content"}, {"from", "value"})
_ASSISTANT = {"assistant", "gpt", "bot", "model", "ai", "chatbot", "agent", "answer"}
_SYSTEM = {"system", "instruction"}
_TREE = """\
type: chat_template for conversations (messages of role and content, or other names with message_property_mappings);
alpaca for instruction, input and output; prompt_completion for prompt and completion;
input_output for pieces of text with labels; completion for plain text"""


@dataclass(frozen=True, slots=True)
class DataLook:
    """What was seen of a data set.

    Attributes:
        path: as given.
        entry: settings of its entry in `datasets`, `path` left out.
        why: why these.
        count: rows in all, about; None where it is not known.
        longest: tokens of the longest row that was looked at, roughly.
        mean: tokens of a row, roughly.
        guessed: whether the names of keys were guessed, and should be looked at.
    """

    path: str
    entry: dict[str, Any]
    why: str
    count: int | None
    longest: int
    mean: int
    guessed: bool = False

    @property
    def chat(self) -> bool:
        """Whether a chat template writes its rows."""
        return self.entry["type"] == "chat_template"


def look_at(path: str) -> DataLook:
    """Looks at the first hundred rows of a data set.

    Raises:
        DataError: it cannot be read, or its format cannot be told.
    """
    seen = peek(SourceConfig(path=path))
    guess = _settled(seen) or _other_names(seen.rows) or _questions(seen.rows)
    if guess is None:
        raise _unknown(path, seen)
    entry, why, guessed = guess
    lengths = [len(json.dumps(row, ensure_ascii=False)) // CHARACTERS_PER_TOKEN for row in seen.rows]
    return DataLook(path, entry, why, seen.count, max(lengths), sum(lengths) // len(lengths), guessed)


Guess = tuple[dict[str, Any], str, bool]


def _settled(seen: Peek) -> Guess | None:
    if len(seen.formats) != 1:
        return None
    entry: dict[str, Any] = {"type": seen.formats[0]}
    column = next((each for each in ("messages", "conversations") if seen.rows[0].get(each) is not None), None)
    named = _names(seen.rows, column) if entry["type"] == "chat_template" and column else None
    if named is None:
        return entry, f"each of the first {len(seen.rows)} rows has {seen.why}", False
    return entry | named, f"messages in {column!r} have keys of their own", True


def _other_names(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """Conversations in a column of another name."""
    columns = [name for name in rows[0] if all(_is_messages(row.get(name)) for row in rows)]
    if len(columns) != 1:
        return None
    entry = {"type": "chat_template", "field_messages": columns[0], **(_names(rows, columns[0]) or {})}
    return entry, f"each of the first {len(rows)} rows has a list of messages in {columns[0]!r}", True


def _questions(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    if all(isinstance(row.get(name), str) for row in rows for name in ("question", "answer")):
        why = f"each of the first {len(rows)} rows has a text in 'question' and a text in 'answer'"
        return {"type": "alpaca_chat.load_qa"}, why, False
    return None


def _is_messages(value: object) -> bool:
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return bool(found) and all(isinstance(each, dict) for each in found)


def _names(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, Any] | None:
    """Settings that say which key of a message is its role and which its text; None where they are known.

    The role is the key with few different texts; the text is the longest of the others.
    """
    lists = [cast("list[dict[str, Any]]", row[column]) for row in rows if _is_messages(row.get(column))]
    messages = [message for each in lists for message in each]
    if not messages or any(known <= messages[0].keys() for known in _KNOWN_KEYS):
        return None
    texts = {
        key: [message[key] for message in messages]
        for key in messages[0]
        if all(isinstance(message.get(key), str) for message in messages)
    }
    few = [key for key, values in texts.items() if 1 < len(set(values)) <= _FEW_ROLES]
    if not few:
        return None
    role = min(few, key=lambda key: sum(map(len, texts[key])))
    others = {key: sum(map(len, values)) for key, values in texts.items() if key != role}
    if not others:
        return None
    content = max(others, key=lambda key: others[key])
    mappings = {name: key for name, key in (("role", role), ("content", content)) if name != key}
    return {"message_property_mappings": mappings} | _roles(lists, role)


def _roles(lists: Sequence[Sequence[Mapping[str, Any]]], role: str) -> dict[str, Any]:
    """`roles` for names that are not known: an assistant by its name, else who speaks second."""
    names = list(dict.fromkeys(str(message[role]) for each in lists for message in each))
    if {"user", "assistant"} <= {*names} or {"human", "gpt"} <= {*names}:
        return {}
    system = [name for name in names if name.lower() in _SYSTEM]
    speakers = [name for name in names if name not in system]
    answers = [name for name in speakers if name.lower() in _ASSISTANT] or speakers[1:2]
    users = [name for name in speakers if name not in answers]
    roles = {"user": users, "assistant": answers} | ({"system": system} if system else {})
    return {"roles": roles} if users and answers else {}


def _unknown(path: str, seen: Peek) -> DataError:
    columns = sorted({column for row in seen.rows for column in row})
    fits = f"of several formats ({', '.join(seen.formats)})" if seen.formats else "of no known format"
    message = f"the first {len(seen.rows)} rows are {fits}; their columns are {columns}"
    fix = f"rename the columns, or write the config by hand:\n{_TREE}"
    return DataError(message, where=f"data set {path!r}", fix=fix.replace("\n", "\n         "))
