"""Plain text: every line that is not blank is a row with the column `text`."""

from __future__ import annotations

from sft_data.source.found import Rows
from sft_data.source.lines import read_lines, text_of
from sft_data.source.opening import SourceFile


def read_text(file: SourceFile) -> Rows:
    """One row a line, without its line end; raises as `read_lines`."""
    for place, line in read_lines(file):
        text = text_of(line) if isinstance(line, bytes) else line
        yield place, {"text": text.rstrip("\r\n")} if isinstance(text, str) else text
