"""JSON files: one object a line (.jsonl), or one array of objects."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn, cast

from sft_data.source.found import DamagedFileError, Found, Rows
from sft_data.source.lines import BOM, read_lines, text_of
from sft_data.source.opening import SourceFile, one_line, open_text, read_errors

_CHUNK = 1 << 20
_FIX = "correct the JSON, or write one object a line into a .jsonl file"


def read_json(file: SourceFile) -> Rows:
    """Rows of an array, or one row a line when the first character is no `[`.

    Raises:
        DataError: the file cannot be opened.
        DamagedFileError: it cannot be read from some place on.
    """
    try:
        with open_text(file) as handle:
            head = cast(Any, handle).peek(64).removeprefix(BOM).lstrip()
    except read_errors() as error:
        raise DamagedFileError(file.address, f"cannot be read: {one_line(error)}") from None
    if head.startswith(b"["):
        yield from _array(file)
    elif head.splitlines()[:1] == [b"{"]:
        raise DamagedFileError(file.address, "one object over several lines, not a row a line", _FIX)
    else:
        yield from read_json_lines(file)


def read_json_lines(file: SourceFile) -> Rows:
    """One row a line; raises as `read_json`."""
    for place, line in read_lines(file):
        text = text_of(line) if isinstance(line, bytes) else line
        yield place, _object_in(text) if isinstance(text, str) else text


def _object_in(text: str) -> Found:
    try:
        return _object(_STRICT.decode(text))
    except (ValueError, RecursionError) as error:
        return _reason(error)


def _reason(error: ValueError | RecursionError) -> tuple[str, str]:
    reason = error.reason if isinstance(error, _RefusedError) else "not_json"
    return reason, "nested too deeply" if isinstance(error, RecursionError) else str(error)


class _RefusedError(ValueError):
    """What Python's reader takes and JSON does not: a key twice in one object, NaN, Infinity."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise _RefusedError("duplicate_key", f"the key {twice!r} stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _RefusedError("not_json", f"{name} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_constant)


def _object(value: Any) -> Found:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    return "not_an_object", f"a {type(value).__name__} instead of an object"


def _array(file: SourceFile) -> Rows:
    """Items one by one: the array as a whole is never in memory."""
    index = 0
    try:
        with open_text(file) as handle:
            for item in _items(handle):
                yield f"{file.address} item {index}", item
                index += 1
    except (*read_errors(), ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else one_line(error)
        raise DamagedFileError(f"{file.address} item {index}", f"not a JSON array: {what}", _FIX) from None


def _items(handle: BinaryIO) -> Iterator[Found]:
    texts = _texts(handle)
    text = next(texts).removeprefix("\ufeff").lstrip()[1:]
    after_item = False
    while True:
        text = text.lstrip()
        while not text:
            text = next(texts, "").lstrip() or _cut_off()
        if text[0] == "]":
            return _only_blank(text[1:], texts)
        if after_item and text[0] != ",":
            raise ValueError(f"{text[:20]!r} instead of a comma")
        item, text = _next_item(text[1:] if after_item else text, texts)
        after_item = True
        yield item


def _next_item(text: str, texts: Iterator[str]) -> tuple[Found, str]:
    """The first item of the text and what follows it; reads on, twice as much each time, until it is whole."""
    wanted = 1
    while True:
        text = text.lstrip()
        if len(text) >= wanted:
            found = _first_item(text)
            if found is not None:
                return found[0], text[found[1] :]
            wanted = 2 * len(text)
        text += (more := next(texts, ""))
        if not more:
            _cut_off()


def _first_item(text: str) -> tuple[Found, int] | None:
    """The first item and where it ends; None when the text ends before it does."""
    try:
        item, end = _decode(text)
    except json.JSONDecodeError as error:
        if _is_wrong(error, text):
            raise
        return None
    return (item, end) if end < len(text) else None  # a number at the end of the text may go on


def _decode(text: str) -> tuple[Found, int]:
    try:
        value, end = _STRICT.raw_decode(text)
    except _RefusedError as error:
        _, end = json.JSONDecoder().raw_decode(text)
        return _reason(error), end
    return _object(value), end


def _is_wrong(error: json.JSONDecodeError, text: str) -> bool:
    """Whether the error would still be there if more of the text were known."""
    return not error.msg.startswith("Unterminated string") and error.pos + len("-Infinity") < len(text)


def _texts(handle: BinaryIO) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    while data := handle.read(_CHUNK):
        if text := decoder.decode(data):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def _cut_off() -> NoReturn:
    raise ValueError("it is cut off")


def _only_blank(text: str, texts: Iterator[str]) -> None:
    for each in (text, *texts):
        if each.strip():
            raise ValueError(f"{each.strip()[:20]!r} after its end")
