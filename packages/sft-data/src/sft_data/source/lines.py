"""Lines of a file, none of them longer than memory should hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from sft_data.source.found import Bad
from sft_data.source.opening import SourceFile, open_text, reading

LONGEST_LINE = 256 << 20
"""Bytes. A longer line is no row that could be trained on, but a file that is something else, or a bomb."""

BOM = b"\xef\xbb\xbf"


def read_lines(file: SourceFile) -> Iterator[tuple[str, bytes | Bad]]:
    """Place and bytes of every line that is not blank; a line that is too long is a bad row.

    Raises:
        DataError: see `open_text`.
        DamagedFileError: the file is cut off or cannot be unpacked any further.
    """
    number = 0
    with reading(lambda: f"{file.address}:{number + 1}"), open_text(file) as handle:
        while line := handle.readline(LONGEST_LINE):
            number += 1
            place = f"{file.address}:{number}"
            if len(line) == LONGEST_LINE and _skip_line(handle, line):
                yield place, ("line_too_long", f"over {LONGEST_LINE} bytes")
            elif (line := line.removeprefix(BOM) if number == 1 else line).strip():
                yield place, line


def _skip_line(handle: BinaryIO, line: bytes) -> bool:
    """Whether the line goes on; then its rest is read away."""
    goes_on = not line.endswith(b"\n")
    while goes_on and (rest := handle.readline(1 << 20)) and not rest.endswith(b"\n"):
        pass
    return goes_on


def text_of(line: bytes) -> str | Bad:
    """The line as text, or what is wrong with it."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        return "not_utf8", f"byte {error.start} of the line is not UTF-8"
