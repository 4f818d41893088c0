"""Tokens to text while they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"


class TextPieces:
    """Turns ids into text piece by piece; the pieces joined are what all ids decode to.

    A token may hold a part of a character, and some tokenizers write a space between tokens only. So a piece is the
    difference between the text of the last tokens with and without the new one, and is held back while it ends within
    a character. The window begins at the last piece, so that each step decodes a few tokens.

    Args:
        decode: ids to text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._start = self._shown = 0

    def push(self, ids: Sequence[int]) -> str:
        """The text that is certain now, after these ids."""
        self._ids += ids
        before, after = self._texts()
        if len(after) <= len(before) or after.endswith(_UNFINISHED):
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return after[len(before) :]

    def end(self) -> str:
        """What is left: a character that never became whole is U+FFFD."""
        before, after = self._texts()
        self._start = self._shown = len(self._ids)
        return after[len(before) :]

    def _texts(self) -> tuple[str, str]:
        return self._decode(self._ids[self._start : self._shown]), self._decode(self._ids[self._start :])
