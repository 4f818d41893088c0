"""One message of a row in OpenAI's format, whatever names its keys and roles have in the data."""

from __future__ import annotations

from typing import Any, cast

from sft_data.row import RowError
from sft_schema.config import DatasetConfig

_SHAREGPT = {"role": "from", "content": "value"}
_ROLES = {"human": "user", "gpt": "assistant"}
_THOUGHTS = (
    ("<think>", "</think>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
_SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


def role_names(cfg: DatasetConfig) -> dict[str, str]:
    """Name of a role in the data to the role that templates know."""
    if cfg.roles is None:
        return _ROLES
    return {name: role for role, names in cfg.roles.items() for name in names}


def read_message(value: Any, index: int, cfg: DatasetConfig) -> dict[str, Any]:
    """The message with its keys and role renamed, and its reasoning in a field of its own.

    Keys without a value are left out, except `content`.

    Raises:
        RowError: `bad_message`.
    """
    if not isinstance(value, dict):
        raise RowError("bad_message", f"message {index} is a {type(value).__name__}, not an object")
    given = cast("dict[str, Any]", value)
    if _is_plain(given, cfg):
        return {**given, "role": _ROLES.get(given["role"], given["role"])}
    message = {key: each for key, each in given.items() if each is not None or key == "content"}
    for name, key in _mappings(message, cfg).items():
        if key in message:
            message[name] = message.pop(key)
    role = message.get("role")
    if not isinstance(role, str) or not role.strip():
        raise RowError("bad_message", f"message {index} has the role {role!r}; it has {sorted(given)}")
    message["role"] = role_names(cfg).get(role, role)
    if cfg.field_thinking in message:
        message[cfg.template_thinking_key] = message.pop(cfg.field_thinking)
    if cfg.split_thinking and message["role"] == "assistant":
        _split_thinking(message, cfg.template_thinking_key)
    return message


def _is_plain(given: dict[str, Any], cfg: DatasetConfig) -> bool:
    """Whether a message has a role and a content alone, and nothing to be done to them: most do."""
    role = given.get("role")
    if len(given) != 2 or "content" not in given or not isinstance(role, str) or not role.strip():
        return False
    asked = cfg.roles is not None or cfg.split_thinking or cfg.message_property_mappings or cfg.field_thinking in given
    return not asked


def _mappings(message: dict[str, Any], cfg: DatasetConfig) -> dict[str, str]:
    """The data set's mappings, and ShareGPT's keys where a message has them instead of OpenAI's."""
    found = {
        name: key
        for name, key in _SHAREGPT.items()
        if name not in cfg.message_property_mappings and name not in message and key in message
    }
    return found | dict(cfg.message_property_mappings)


def _split_thinking(message: dict[str, Any], key: str) -> None:
    content = message.get("content")
    if not isinstance(content, str):
        return
    for opening, closing in _THOUGHTS:
        before, found, rest = content.partition(opening)
        thought, closed, answer = rest.partition(closing)
        if found and closed and not before.strip():
            message[key], answer = thought.strip(), answer.lstrip()
            inner = answer.partition(_SOLUTION[0])[2]
            message["content"] = inner.partition(_SOLUTION[1])[0].strip() if _SOLUTION[1] in inner else answer
            return
