r"""A text that remembers which message field each of its characters came from.

A chat template is a program over strings. `Traced` is a string whose operations carry spans along, so the program
itself tells where each field ended up:

    Traced("4 apples", message 1, content) -> "<|im_start|>assistant\n" + it + "<|im_end|>"
                                               no span                  span   no span

Operations that are not listed here (`upper`, `%`, slicing with a step...) return plain strings: their result has
no spans, and what lacks its span is refused later, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, SupportsIndex, cast

from sft_schema.record import Span

Source = Span
"""Characters `start` to `end` of a Traced that came from `field` of `message`, beginning at `offset`."""

_MakeSource = Callable[[type[Source], tuple[int, int, int, str, int]], Source]
_new_source = cast(_MakeSource, tuple.__new__)  # pyright: ignore[reportUnknownMemberType]
"""Makes a Source of its five values; the named way takes three times as long, and rows have many."""


class Traced(str):
    """A `str` with sources. It compares, hashes and tests like the plain string.

    What is joined keeps its parts until its sources are asked for: a template that adds to one text in a loop would
    else go through the sources of all of it each time.
    """

    __slots__ = ("_parts", "_sources")
    _parts: Sequence[str]
    _sources: tuple[Source, ...] | None

    def __new__(cls, text: str, sources: Iterable[Source] = ()) -> Traced:
        """The text with its sources, in order."""
        self = str.__new__(cls, text)
        self._parts, self._sources = (), tuple(sources)
        return self

    @classmethod
    def joined(cls, parts: Sequence[str]) -> Traced:
        """The parts one after the other."""
        self = str.__new__(cls, "".join(parts))
        self._parts, self._sources = parts, None
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where its characters came from, in order of `start`."""
        if self._sources is None:
            self._sources = self._joined_sources()
            self._parts = ()
        return self._sources

    def _joined_sources(self) -> tuple[Source, ...]:
        position = 0
        found: list[Source] = []
        waiting = list(reversed(self._parts))
        while waiting:
            part = waiting.pop()
            if isinstance(part, Traced):
                if part._sources is None:
                    waiting.extend(reversed(part._parts))
                    continue
                for start, end, message, field, offset in part._sources:
                    found.append(_new_source(Source, (start + position, end + position, message, field, offset)))
            position += len(part)
        return tuple(found)

    @classmethod
    def of(cls, text: str, message: int, field: str) -> Traced:
        """A whole field. An empty one keeps an empty source, which still marks its place."""
        self = str.__new__(cls, text)
        self._parts, self._sources = (), (_new_source(Source, (0, len(text), message, field, 0)),)
        return self

    def cut(self, start: int, end: int) -> Traced:
        """Characters `start` to `end`, with what is left of each source."""
        if start == 0 and end == len(self):
            return self
        end = max(start, end)
        kept: list[Source] = []
        for source in self.sources:
            first, last = max(source.start, start), min(source.end, end)
            # an empty source survives inside the cut; a source cut down to nothing marks where it stood
            if first <= last:
                offset = source.offset + first - source.start
                kept.append(Source(first - start, last - start, source.message, source.field, offset))
        return Traced(str.__getitem__(self, slice(start, end)), kept)

    def __str__(self) -> str:
        return self

    def __iter__(self) -> Iterator[str]:
        return (self.cut(index, index + 1) for index in range(len(self)))

    def __add__(self, other: str) -> Traced:
        return join_traced((self, other))

    def __radd__(self, other: str) -> Traced:
        return join_traced((other, self))

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        if isinstance(key, slice):
            start, end, step = key.indices(len(self))
            return self.cut(start, end) if step == 1 else str.__getitem__(self, key)
        single = range(len(self))[key]
        return self.cut(single, single + 1)

    def lstrip(self, chars: str | None = None) -> Traced:
        return self.cut(len(self) - len(str.lstrip(self, chars)), len(self))

    def rstrip(self, chars: str | None = None) -> Traced:
        return self.cut(0, len(str.rstrip(self, chars)))

    def strip(self, chars: str | None = None) -> Traced:
        return self.rstrip(chars).lstrip(chars)

    def removeprefix(self, prefix: str) -> Traced:
        return self.cut(len(prefix) if str.startswith(self, prefix) else 0, len(self))

    def removesuffix(self, suffix: str) -> Traced:
        return self.cut(0, len(self) - (len(suffix) if str.endswith(self, suffix) else 0))

    def _pieces(self, parts: list[str], *, from_right: bool = False) -> list[Any]:
        """The parts that `str` cut this text into, found again one after the other."""
        pieces: list[Traced] = []
        position = len(self) if from_right else 0
        for part in reversed(parts) if from_right else parts:
            if from_right:
                start = str.rfind(self, part, 0, position)
                position = start
            else:
                start = str.find(self, part, position)
                position = start + len(part)
            pieces.append(self.cut(start, start + len(part)))
        return pieces[::-1] if from_right else pieces

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Any]:
        if sep is None:
            return self._pieces(str.split(self, None, maxsplit))
        return self._between(str.split(self, sep, maxsplit), len(sep))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[Any]:
        if sep is None:
            return self._pieces(str.rsplit(self, None, maxsplit), from_right=True)
        return self._between(str.rsplit(self, sep, maxsplit), len(sep))

    def _between(self, parts: list[str], gap: int) -> list[Any]:
        pieces: list[Traced] = []
        position = 0
        for part in parts:
            pieces.append(self.cut(position, position + len(part)))
            position += len(part) + gap
        return pieces

    def splitlines(self, keepends: bool = False) -> list[Any]:
        lines = self._between(str.splitlines(self, True), 0)
        if keepends:
            return lines
        return [line.cut(0, len(bare)) for line, bare in zip(lines, str.splitlines(self), strict=True)]

    def partition(self, sep: str) -> tuple[Any, Any, Any]:
        head, middle, _ = str.partition(self, sep)
        cut = len(head) + len(middle)
        return self.cut(0, len(head)), self.cut(len(head), cut), self.cut(cut, len(self))

    def rpartition(self, sep: str) -> tuple[Any, Any, Any]:
        head, middle, _ = str.rpartition(self, sep)
        cut = len(head) + len(middle)
        return self.cut(0, len(head)), self.cut(len(head), cut), self.cut(cut, len(self))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> Traced:
        if not old:
            return Traced(str.replace(self, old, new, count))
        return Traced.join(Traced(new, getattr(new, "sources", ())), self.split(old, count))

    def join(self, parts: Iterable[str], /) -> Traced:
        joined: list[str] = []
        for index, part in enumerate(parts):
            if index:
                joined.append(self)
            joined.append(part)
        return join_traced(joined)


def join_traced(parts: Iterable[str]) -> Traced:
    """The parts one after the other; what came from a Traced keeps its sources."""
    return Traced.joined(list(parts))
