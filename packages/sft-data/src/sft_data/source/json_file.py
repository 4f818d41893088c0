"""JSON files: one object a line (.jsonl), or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from sft_schema import DataError

Found = dict[str, Any] | tuple[str, str]


def read_json(file: Path) -> Iterator[tuple[str, Found]]:
    """Place and content of every row; a row that cannot be read is a pair of reason and detail.

    Raises:
        DataError: the file cannot be opened, or holds one broken array.
    """
    try:
        with file.open("rb") as handle:
            first = handle.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(file), fix="check its permissions") from None
    yield from _array(file) if first == b"[" and file.suffix != ".jsonl" else _lines(file)


def _lines(file: Path) -> Iterator[tuple[str, Found]]:
    with file.open("rb") as handle:
        for number, raw in enumerate(handle, 1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if line.strip():
                yield f"{file}:{number}", _line(line)


def _line(line: bytes) -> Found:
    try:
        return _object(json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        return "not_utf8", f"byte {error.start} of the line is not UTF-8"
    except (ValueError, RecursionError) as error:
        return "not_json", f"{error}"


def _array(file: Path) -> Iterator[tuple[str, Found]]:
    try:
        items = cast("list[Any]", json.loads(file.read_text(encoding="utf-8-sig")))
    except (ValueError, RecursionError) as error:
        fix = "correct the JSON, or write one object a line into a .jsonl file"
        raise DataError(f"not a JSON array: {error}", where=str(file), fix=fix) from None
    for index, item in enumerate(items):
        yield f"{file} item {index}", _object(item)


def _object(value: Any) -> Found:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    return "not_an_object", f"a {type(value).__name__} instead of an object"
