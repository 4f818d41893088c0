"""The columns that tell a format: what `type: auto` and `sft init` look for. Nothing heavy is imported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sft_schema.config import FormatName


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in cast("list[object]", value))


def _is_messages(value: object) -> bool:
    if not isinstance(value, str):
        return _is_objects(value)
    try:
        return _is_objects(json.loads(value))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Shape:
    """Columns that tell a format.

    Attributes:
        format: what rows of this shape are read as.
        columns: columns that the row must have, and what their values must be.
        without: columns that say something else: with a value in one of them this is not the shape.
        said: what the row has, in words.
    """

    format: FormatName
    columns: Mapping[str, Callable[[object], bool]]
    said: str
    without: tuple[str, ...] = ()

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether a row has this shape; a null is no value."""
        if any(values.get(name) is not None for name in self.without):
            return False
        return all(check(values.get(name)) for name, check in self.columns.items())


_TASK = {"instruction": _is_text, "output": _is_text}
SHAPES: tuple[Shape, ...] = (
    Shape("chat_template", {"messages": _is_messages}, "a list of messages in 'messages'"),
    Shape("chat_template", {"conversations": _is_messages}, "a list of messages in 'conversations'"),
    # alpaca would leave a system message out, so a row that has one is of the relative that reads it
    Shape("alpaca", _TASK, "a text in 'instruction' and a text in 'output'", without=("system",)),
    Shape(
        "alpaca_w_system",
        {"system": _is_text, **_TASK},
        "a text in 'system', a text in 'instruction' and a text in 'output'",
    ),
    Shape(
        "prompt_completion",
        {"prompt": _is_text, "completion": _is_text},
        "a text in 'prompt' and a text in 'completion'",
    ),
    Shape("input_output", {"segments": _is_objects}, "a list of pieces in 'segments'"),
    Shape("tokenized", {"input_ids": _is_list, "labels": _is_list}, "a list in 'input_ids' and a list in 'labels'"),
    Shape("completion", {"text": _is_text}, "a text in 'text'"),
)
"""The shapes that are known. What is not here, `type` has to name."""


def fitting_formats(rows: Sequence[Mapping[str, Any]]) -> list[FormatName]:
    """The formats whose columns all of these rows have; each row may have another shape of the format.

    Args:
        rows: column to value.
    """
    formats: dict[FormatName, None] = dict.fromkeys(shape.format for shape in SHAPES)
    return [each for each in formats if all(shapes_of(row, each) for row in rows)]


def shapes_of(values: Mapping[str, Any], name: str) -> list[Shape]:
    """The shapes of one format that a row has."""
    return [shape for shape in SHAPES if shape.format == name and shape.fits(values)]


def said_of(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """What the rows have that makes them rows of a format, as `a list of messages in 'messages'`."""
    return " or ".join(dict.fromkeys(shapes_of(row, name)[0].said for row in rows))
