r"""The text that is tokenised, and where each part of it came from.

    <|im_start|>assistant\n4 apples<|im_end|>\n
    ............^^^^^^^^^..^^^^^^^^...........
                role      content               template text has no span

A span says: these characters are that part of that message. What no span covers was written by the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sft_schema.record.picture import Pictured


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of the rendered text that came from one field.

    Attributes:
        start: first character in the rendered text.
        end: one past the last; equal to `start` for an empty field, which still marks its place.
        message: index of the message or segment.
        field: `content`, `role`, `reasoning_content`, `tool_calls.0.function.name`...
        offset: first character within that field.
    """

    start: int
    end: int
    message: int
    field: str
    offset: int


class Region(NamedTuple):
    """Characters `start` to `end` (exclusive) that the model has to write itself, and why.

    Attributes:
        start: first character.
        end: one past the last.
        message: index of the message or segment that the characters belong to.
        reason: `turn` for what the role says, `part` for a part of it that the row chose, `end_of_turn` for its stop
            token, `input` for trained prompts.
        weight: of its tokens in the loss, above 0.
    """

    start: int
    end: int
    message: int
    reason: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered example.

    Attributes:
        text: exactly what is tokenised.
        spans: in order of `start`; spans of one message may be apart, spans never overlap.
        roles: role of each message or segment.
        generations: characters inside the template's `{% generation %}` blocks, as (start, end).
        pictured: with a processor for pictures: the text before pictures took their places, and which they are.
    """

    text: str
    spans: tuple[Span, ...]
    roles: tuple[str, ...]
    generations: tuple[tuple[int, int], ...] = ()
    pictured: Pictured | None = None
