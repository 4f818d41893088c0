"""Tools and tool calls: whatever is JSON written into a text becomes the object that templates read."""

from __future__ import annotations

import json
from typing import Any, cast

from sft_data.row import RowError


def read_tools(tools: list[Any] | None) -> list[Any] | None:
    """The tools with `parameters` that were given as a text decoded; the schemas are otherwise untouched.

    Raises:
        RowError: `bad_tool`.
    """
    if not tools:
        return None
    return [_tool(each, index) for index, each in enumerate(tools)]


def _tool(tool: Any, index: int) -> Any:
    if not isinstance(tool, dict):
        raise RowError("bad_tool", f"tool {index} is a {type(tool).__name__}, not an object")
    values = cast("dict[str, Any]", tool)
    inner = values.get("function")
    if isinstance(inner, dict):
        function = cast("dict[str, Any]", inner)
        return {**values, "function": _decoded(function, "parameters", f"tool {index}", "bad_tool")}
    return _decoded(values, "parameters", f"tool {index}", "bad_tool")


def read_calls(message: dict[str, Any], index: int) -> None:
    """Decodes the arguments of a message's tool calls.

    Raises:
        RowError: `bad_tool_call`.
    """
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list):
        raise RowError("bad_tool_call", f"tool_calls of message {index} is a {type(calls).__name__}, not a list")
    read: list[Any] = []
    for number, call in enumerate(cast("list[Any]", calls)):
        what = f"tool call {number} of message {index}"
        if not isinstance(call, dict):
            raise RowError("bad_tool_call", f"{what} is a {type(call).__name__}, not an object")
        values = cast("dict[str, Any]", call)
        function = values.get("function")
        if isinstance(function, dict):
            decoded = _decoded(cast("dict[str, Any]", function), "arguments", what, "bad_tool_call")
            values = {**values, "function": decoded}
        else:
            values = _decoded(values, "arguments", what, "bad_tool_call")
        read.append(values)
    message["tool_calls"] = read


def _decoded(values: dict[str, Any], key: str, what: str, reason: str) -> dict[str, Any]:
    text = values.get(key)
    if not isinstance(text, str):
        return values
    try:
        return {**values, key: json.loads(text) if text.strip() else {}}
    except ValueError:
        raise RowError(reason, f"{key} of {what} is a text that is not JSON: {text[:80]!r}") from None
