"""The spans of a rendered text, found by message and by place without going through all of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence

from sft_schema.record import Span


class SpanIndex:
    """Spans in order of `start` that do not overlap, as a render gives them; so their ends are in order too."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._starts = [span.start for span in spans]
        self._ends = [span.end for span in spans]
        self._own: defaultdict[int, list[Span]] | None = None

    def of(self, message: int) -> list[Span]:
        """The spans of a message, in order."""
        if self._own is None:
            self._own = defaultdict(list)
            for span in self._spans:
                self._own[span.message].append(span)
        return self._own.get(message, [])

    def end_before(self, place: int, message: int) -> int:
        """The last character up to which another message stands before `place`; 0 when there is none."""
        at = bisect_right(self._ends, place) - 1
        while at >= 0 and self._spans[at].message == message:
            at -= 1
        return self._ends[at] if at >= 0 else 0

    def start_after(self, place: int, message: int, default: int) -> int:
        """The first character from `place` on that is another message's; `default` when there is none."""
        at = bisect_left(self._starts, place)
        while at < len(self._spans) and self._spans[at].message == message:
            at += 1
        return self._starts[at] if at < len(self._spans) else default

    def other_between(self, first: int, last: int, message: int) -> int | None:
        """The first other message with a character, or an empty field, after `first` and before `last`."""
        for at in range(bisect_right(self._ends, first), bisect_left(self._starts, last)):
            if self._spans[at].message != message:
                return self._spans[at].message
        return None

    def around(self, start: int, end: int) -> Span | None:
        """The first span that holds all characters `start` to `end` (exclusive, at least one)."""
        at = bisect_left(self._ends, end)
        return self._spans[at] if start < end and at < len(self._spans) and self._starts[at] <= start else None

    def touches(self, start: int, end: int) -> bool:
        """Whether one of the characters `start` to `end` (exclusive) is in a span."""
        at = bisect_right(self._ends, start)
        return at < len(self._spans) and self._starts[at] < end
