"""What a row itself says about which of its messages, and which parts of them, are trained."""

from __future__ import annotations

from typing import Any, cast

from sft_data.row import RowError
from sft_schema.record import TrainSpan

_FLAGS = ("training", "train", "weight")
"""Keys of a message, and of a part of its content: axolotl's, and OpenAI's `weight`."""


def take_flag(message: dict[str, Any], key: str | None, index: int) -> bool | None:
    """Takes the training flag out of a message; None when it has none.

    Raises:
        RowError: `bad_training_flag` for anything but true, false, 0 and 1.
    """
    found: bool | None = None
    for name in _FLAGS if key is None else (key,):
        value = message.pop(name, None)
        if value is not None and found is None:
            found = _flag(value, f"{name!r} of message {index}")
    return found


def _flag(value: Any, what: str) -> bool:
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise RowError("bad_training_flag", f"{what} is {value!r}: a text is trained (true, 1) or not (false, 0)")


def take_details(message: dict[str, Any], key: str | None, index: int) -> list[TrainSpan]:
    """Takes the list of trained spans out of a message.

    Raises:
        RowError: `bad_training_detail` when a span is not inside the text, or overlaps the one before.
    """
    given: Any = None if key is None else message.pop(key, None)
    if not given:
        return []
    text = message.get("content")
    what = f"{key!r} of message {index}"
    if not isinstance(text, str) or not isinstance(given, list):
        raise RowError("bad_training_detail", f"{what} needs a list, and a message with a text")
    spans = [_detail(each, index, what) for each in cast("list[Any]", given)]
    spans.sort(key=lambda span: span.start)
    position = 0
    for span in spans:
        if not position <= span.start < span.end <= len(text):
            place = f"{span.start} to {span.end - 1} of {len(text)} characters"
            raise RowError("bad_training_detail", f"{what}: {place} is out of bounds or overlaps another span")
        position = span.end
    return spans


def _detail(value: Any, index: int, what: str) -> TrainSpan:
    try:
        start, end = int(value["begin_offset"]), int(value["end_offset"]) + 1  # axolotl's end is inclusive
        return TrainSpan(message=index, field="content", start=start, end=end, train=_flag(value["train"], what))
    except (KeyError, TypeError, ValueError):
        detail = f"{what}: {value!r} is not {{begin_offset, end_offset, train}}"
        raise RowError("bad_training_detail", detail) from None


def join_parts(message: dict[str, Any], field: str, index: int) -> list[TrainSpan]:
    """Turns a list of text parts into one text, since few templates take lists; returns the parts that are flagged.

    Raises:
        RowError: `not_text_part` for an image or the like.
    """
    parts = message.get(field)
    if not isinstance(parts, list):
        return []
    spans: list[TrainSpan] = []
    text, flagged = "", False
    for number, part in enumerate(cast("list[Any]", parts)):
        piece = _part_text(part, f"part {number} of message {index}'s {field}")
        said = take_flag(dict(cast("dict[str, Any]", part)), None, index) if isinstance(part, dict) else None
        flagged = flagged or said is not None
        if piece:
            end = len(text) + len(piece)
            spans.append(TrainSpan(message=index, field=field, start=len(text), end=end, train=said is not False))
            text += piece
    message[field] = text
    return spans if flagged else []


def _part_text(part: Any, what: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        values = cast("dict[str, Any]", part)
        found = next((values[key] for key in ("text", "content", "value") if values.get(key) is not None), None)
        if values.get("type", "text") == "text" and isinstance(found, str):
            return found
        raise RowError("not_text_part", f"{what} is of type {values.get('type', 'text')!r}; only text is trained on")
    raise RowError("bad_message", f"{what} is a {type(part).__name__}, not an object")
