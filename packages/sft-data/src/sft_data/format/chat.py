"""Conversations in OpenAI's message format, in ShareGPT's, or in another after `message_property_mappings`."""

from __future__ import annotations

import json
from typing import Any, cast

from pydantic import ValidationError

from sft_data.format.message import read_message
from sft_data.format.pictures import holds_pictures, take_pictures
from sft_data.format.tools import read_calls, read_tools
from sft_data.format.training import NOTHING_SAID, Said, join_parts, take_details, take_flag
from sft_data.row import Row, RowError
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation

MESSAGE_COLUMNS = ("messages", "conversations")
"""Where messages are looked for when `field_messages` does not say."""

_BARE = frozenset({"role", "content"})


def chat_template(row: Row, cfg: DatasetConfig) -> Conversation:
    """The row's messages, tools and pictures, and what the row says about their training.

    Raises:
        RowError: `missing_column`, `wrong_type`, `no_messages`, `bad_message`, `bad_tool`, `bad_tool_call`,
            `not_text_part`, `bad_picture`, `picture_count`, `bad_training_flag` or `bad_training_detail`.
    """
    messages = _messages(row, cfg)
    said: list[Said] = []
    pictures, parts = take_pictures(messages, row, cfg)
    own_keys = (cfg.message_field_training, cfg.message_field_training_detail)
    for index, message in enumerate(messages):
        if len(message) == 2 and isinstance(message.get("content"), str) and _BARE.isdisjoint(own_keys):
            said.append(NOTHING_SAID)  # role and content alone, as most messages are: nothing else to read
            continue
        said.append(take_flag(message, cfg.message_field_training, index))
        parts.extend(take_details(message, cfg.message_field_training_detail, index))
        for field in ("content", cfg.template_thinking_key):
            if not holds_pictures(message.get(field)):
                parts.extend(join_parts(message, field, index))
        read_calls(message, index)
    values: dict[str, Any] = {"messages": messages, "parts": parts, "pictures": pictures}
    if any(each.train is not None for each in said):
        values["trained"] = [each.train for each in said]
    if any(each.weight != 1 for each in said):
        values["weights"] = [each.weight for each in said]
    if tools := read_tools(_list(row, cfg.field_tools)):
        values["tools"] = tools
    try:
        return Conversation.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RowError("bad_message", f"{place}: {first['msg']}") from None


def _messages(row: Row, cfg: DatasetConfig) -> list[dict[str, Any]]:
    column = cfg.field_messages or next((name for name in MESSAGE_COLUMNS if row.values.get(name) is not None), None)
    given = None if column is None else _list(row, column)
    if given is None:
        wanted = repr(column) if column else " or ".join(map(repr, MESSAGE_COLUMNS))
        raise RowError("missing_column", f"no {wanted}; the row has {sorted(row.values)}")
    messages = [read_message(each, index, cfg) for index, each in enumerate(given)]
    system = row.values.get("system")
    if messages and messages[0]["role"] != "system" and isinstance(system, str) and system:
        messages.insert(0, {"role": "system", "content": system})
    if cfg.drop_system_message and messages and messages[0]["role"] == "system":
        messages = messages[1:]
    if not messages:
        raise RowError("no_messages", f"{column!r} is empty")
    return messages


def _list(row: Row, name: str) -> list[Any] | None:
    value = row.values.get(name)
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = json.loads(value)
        except ValueError:
            raise RowError("wrong_type", f"{name!r} is a text that is not JSON") from None
    if value is not None and not isinstance(value, list):
        raise RowError("wrong_type", f"{name!r} is a {type(value).__name__}, not a list")
    return cast("list[Any] | None", value)
