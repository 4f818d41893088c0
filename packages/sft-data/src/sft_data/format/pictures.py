"""Pictures of a conversation: parts of a message's content, and a column that `<image>` in a text refers to."""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast

from sft_data.format.training import take_flag
from sft_data.row import Row, RowError
from sft_schema.config import DatasetConfig
from sft_schema.record import PictureSource, TrainSpan

MARKER = "<image>"
"""Stands for a picture of the row's column in a text, as in LLaVA's data."""
_COLUMNS = ("images", "image")
_TYPES = ("image", "image_url")
_KEYS = ("image", "path", "url", "base64", "bytes", "image_url")

Parts = list[Any]


def take_pictures(
    messages: list[dict[str, Any]], row: Row, cfg: DatasetConfig
) -> tuple[list[PictureSource], list[TrainSpan]]:
    """Takes the pictures out of messages, whose parts of type `image` then say nothing but that.

    Pictures stand in the parts (`path`, `url`, `image`, `base64`, `bytes`, or OpenAI's `image_url`), or in the row's
    column: then parts without an address, or `<image>` in texts that no assistant says, are given them in order. One
    line break beside `<image>` goes with it, since templates write their own.

    Args:
        messages: changed in place.
        row: has the column.
        cfg: `field_images`.

    Returns:
        The pictures in order, and the text parts that say whether they are trained.

    Raises:
        RowError: `picture_count` when placeholders and pictures differ in number, `bad_picture` for a value that is
            no picture, `bad_training_flag`.
    """
    column = _column(row, cfg)
    if column and not any(holds_pictures(message.get("content")) for message in messages):
        for message in messages:
            _split_at_markers(message)
    found: list[PictureSource | None] = []
    spans: list[TrainSpan] = []
    for index, message in enumerate(messages):
        if holds_pictures(message.get("content")):
            spans.extend(_take_parts(message, index, found))
    return _filled(found, column), spans


def holds_pictures(content: Any) -> bool:
    """Whether a message's content is a list with a picture in it."""
    return isinstance(content, list) and any(_is_picture(part) for part in cast(Parts, content))


def _is_picture(part: Any) -> bool:
    return isinstance(part, dict) and cast("dict[str, Any]", part).get("type") in _TYPES


def _column(row: Row, cfg: DatasetConfig) -> list[PictureSource]:
    names = _COLUMNS if cfg.field_images is None else (cfg.field_images,)
    name = next((each for each in names if row.values.get(each) is not None), None)
    if name is None:
        return []
    value = row.values[name]
    values = cast(Parts, value) if isinstance(value, list) else [value]
    return [_source(each, f"picture {number} of column {name!r}") for number, each in enumerate(values)]


def _split_at_markers(message: dict[str, Any]) -> None:
    content = message.get("content")
    if message.get("role") == "assistant" or not isinstance(content, str) or MARKER not in content:
        return
    pieces = content.split(MARKER)
    parts: Parts = []
    for number, piece in enumerate(pieces):
        after, before = number > 0 and piece.startswith("\n"), number < len(pieces) - 1 and piece.endswith("\n")
        text = piece[int(after) :]
        text = text[:-1] if before and text else text
        parts += [{"type": "text", "text": text}] if text else []
        parts += [{"type": "image"}] if number < len(pieces) - 1 else []
    message["content"] = parts


def _take_parts(message: dict[str, Any], index: int, found: list[PictureSource | None]) -> list[TrainSpan]:
    """Replaces a content by parts that templates know; adds its pictures to `found`."""
    parts: list[dict[str, Any]] = []
    spans: list[TrainSpan] = []
    flagged = False
    for number, part in enumerate(cast(Parts, message["content"])):
        what = f"part {number} of message {index}'s content"
        if _is_picture(part):
            found.append(_part_source(cast("dict[str, Any]", part), what))
            parts.append({"type": "image"})
            continue
        if not isinstance(part, str | dict):
            raise RowError("bad_message", f"{what} is a {type(part).__name__}, not an object")
        values = {"text": part} if isinstance(part, str) else dict(cast("dict[str, Any]", part))
        said = take_flag(values, None, index)
        flagged = flagged or said.train is not None
        text = next((values[key] for key in ("text", "content", "value") if values.get(key) is not None), None)
        if values.get("type", "text") != "text" or not isinstance(text, str):
            raise RowError("not_text_part", f"{what} is of type {values.get('type')!r}, neither text nor a picture")
        field = f"content.{len(parts)}.text"
        train = said.train is not False
        spans.append(TrainSpan(message=index, field=field, start=0, end=len(text), train=train, weight=said.weight))
        parts.append({"type": "text", "text": text})
    message["content"] = parts
    return spans if flagged else []


def _part_source(part: dict[str, Any], what: str) -> PictureSource | None:
    key = next((key for key in _KEYS if part.get(key) is not None), None)
    if key is None:
        return None
    value = part[key]
    if key == "image_url" and isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("url")
    if key == "base64" and isinstance(value, str):
        value = _decoded(value, what)
    return _source(value, what)


def _source(value: Any, what: str) -> PictureSource:
    if isinstance(value, dict):  # as the datasets library stores a picture
        stored = cast("dict[str, Any]", value)
        value = stored.get("path") if stored.get("bytes") is None else stored["bytes"]
    if isinstance(value, str | bytes) and value:
        return PictureSource(value, what)
    detail = f"{what} is a {type(value).__name__}, not a path, an address or the bytes of an image file"
    raise RowError("bad_picture", detail)


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError("bad_picture", f"{what} is not base64: {error}") from None


def _filled(found: list[PictureSource | None], column: list[PictureSource]) -> list[PictureSource]:
    """The pictures of the parts, those without an address from the column."""
    waiting = found.count(None)
    if waiting != len(column):
        detail = f"the messages have {waiting} places for pictures of a column, and the row has {len(column)}"
        raise RowError("picture_count", detail)
    remaining = iter(column)
    return [next(remaining) if each is None else each for each in found]
