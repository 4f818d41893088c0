"""What a row itself says about which of its messages, and which parts of them, are trained, and how much they count.

A message, a part of its content and a span of its text are trained (true, 1), are not (false, 0), or are trained with
a weight in the loss (another number). Where several keys say something, they are multiplied.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple, cast

from sft_data.row import RowError
from sft_schema.record import TrainSpan

_FLAGS = ("training", "train", "weight")
"""Keys of a message, and of a part of its content: axolotl's, and OpenAI's `weight`."""
_SMALLEST, _LARGEST = 1e-6, 1e6


class Said(NamedTuple):
    """What a row says about a text.

    Attributes:
        train: whether it is trained; None when the row says nothing.
        weight: of its tokens in the loss.
    """

    train: bool | None
    weight: float


NOTHING_SAID = Said(None, 1.0)


def take_flag(message: dict[str, Any], key: str | None, index: int) -> Said:
    """Takes what is said about its training out of a message.

    Raises:
        RowError: `bad_training_flag` for anything but true, false, 0 and a number from 1e-6 to 1e6.
    """
    found: list[float] = []
    for name in _FLAGS if key is None else (key, "weight"):
        value = message.pop(name, None)
        if value is not None:
            found.append(read_weight(value, f"{name!r} of message {index}"))
    return _said(found)


def _said(found: list[float]) -> Said:
    product = prod(found)
    return Said(product > 0 if found else None, product or 1.0)


def read_weight(value: Any, what: str) -> float:
    """What the tokens of a text count in the loss, 0 for nothing; raises RowError `bad_training_flag`."""
    if isinstance(value, bool | int | float) and (value == 0 or _SMALLEST <= value <= _LARGEST):
        return float(value)
    meant = f"a text is trained (true, 1), is not (false, 0), or has a weight from {_SMALLEST:g} to {_LARGEST:g}"
    raise RowError("bad_training_flag", f"{what} is {value!r}: {meant}")


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
        said = _said([read_weight(value[name], what) for name in ("train", "weight") if name in value])
        if said.train is not None:
            return TrainSpan(message=index, field="content", start=start, end=end, train=said.train, weight=said.weight)
        raise KeyError("train")
    except (KeyError, TypeError, ValueError):
        detail = f"{what}: {value!r} is not {{begin_offset, end_offset, train or weight}}"
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
        said = take_flag(dict(cast("dict[str, Any]", part)), None, index) if isinstance(part, dict) else NOTHING_SAID
        flagged = flagged or said.train is not None
        if piece:
            end, train = len(text) + len(piece), said.train is not False
            span = TrainSpan(message=index, field=field, start=len(text), end=end, train=train, weight=said.weight)
            spans.append(span)
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
