"""Conversations in OpenAI's message format, or in another after `message_property_mappings`."""

from __future__ import annotations

import json
from typing import Any, cast

from pydantic import ValidationError

from sft_data.row import Row, RowError
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation


def chat_template(row: Row, cfg: DatasetConfig) -> Conversation:
    """The row's messages and tools.

    Raises:
        RowError: `missing_column`, `wrong_type`, `no_messages` or `bad_message`.
    """
    messages = _list(row, cfg.field_messages)
    if messages is None:
        raise RowError("missing_column", f"no {cfg.field_messages!r}; the row has {sorted(row.values)}")
    if not messages:
        raise RowError("no_messages", f"{cfg.field_messages!r} is empty")
    tools = _list(row, cfg.field_tools)
    values: dict[str, Any] = {"messages": [_message(each, index, cfg) for index, each in enumerate(messages)]}
    if tools:
        values["tools"] = tools
    try:
        return Conversation.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RowError("bad_message", f"{place}: {first['msg']}") from None


def _list(row: Row, name: str) -> list[Any] | None:
    value = row.values.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise RowError("wrong_type", f"{name!r} is a text that is not JSON") from None
    if value is not None and not isinstance(value, list):
        raise RowError("wrong_type", f"{name!r} is a {type(value).__name__}, not a list")
    return cast("list[Any] | None", value)


def _message(value: Any, index: int, cfg: DatasetConfig) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowError("bad_message", f"message {index} is a {type(value).__name__}, not an object")
    message = dict(cast("dict[str, Any]", value))
    for name, key in cfg.message_property_mappings.items():
        if key in message:
            message[name] = message.pop(key)
    return message
