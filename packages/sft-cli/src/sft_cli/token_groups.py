r"""The tokens of a packed row, gathered by sample and by message as people read them.

    <|im_start|> user \n Hi <|im_end|> \n <|im_start|> assistant \n Hello <|im_end|> \n
    |------------- message 0 -----------| |------------- message 1 -----------------|

Template text belongs to no message. What a template writes before a message's first part is shown with that
message; what it writes up to the end of the line is shown with the message before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sft_schema.record import InspectedToken, RowOrigin


@dataclass(frozen=True, slots=True)
class MessageTokens:
    """Tokens shown under one label.

    Attributes:
        message: index of the message; None when the sample has no messages.
        role: its role.
        tokens: in order, template text around the message included.
    """

    message: int | None
    role: str | None
    tokens: tuple[InspectedToken, ...]

    @property
    def label(self) -> str:
        """Index and role, such as `1 assistant`, and the weight of its trained tokens where it is not 1."""
        name = "template" if self.message is None else f"{self.message} {self.role or 'unknown role'}"
        weights = sorted({token.weight for token in self.tokens if token.trained} or {1.0})
        if weights == [1.0]:
            return name
        return f"{name}, weight " + " to ".join(f"{each:g}" for each in dict.fromkeys((weights[0], weights[-1])))

    @property
    def trained(self) -> int:
        """Trained tokens."""
        return sum(token.trained for token in self.tokens)


@dataclass(frozen=True, slots=True)
class SampleTokens:
    """One sample of a row.

    Attributes:
        sample: index within the row.
        origin: the row of the data set that it was made from.
        messages: its tokens by message; a message that a template splits up comes twice.
    """

    sample: int
    origin: RowOrigin
    messages: tuple[MessageTokens, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the sample."""
        return sum(len(message.tokens) for message in self.messages)

    @property
    def trained(self) -> int:
        """Trained tokens."""
        return sum(message.trained for message in self.messages)


def group_tokens(tokens: Sequence[InspectedToken], origins: Sequence[RowOrigin]) -> list[SampleTokens]:
    """The samples of a packed row in order; their tokens joined are exactly `tokens`.

    Args:
        tokens: tokens of the row, or its first ones.
        origins: the row of the data set that each sample was made from.
    """
    samples = groupby(tokens, key=lambda token: token.sample)
    return [SampleTokens(index, origins[index], _messages(list(own))) for index, own in samples]


def _messages(tokens: list[InspectedToken]) -> tuple[MessageTokens, ...]:
    messages: list[MessageTokens] = []
    starts = [*_starts(tokens), len(tokens)]
    for start, end in pairwise(starts):
        part = tuple(tokens[start:end])
        owner = next((token for token in part if token.message is not None), None)
        messages.append(MessageTokens(owner and owner.message, owner and owner.role, part))
    return tuple(messages)


def _starts(tokens: list[InspectedToken]) -> list[int]:
    """Where a new message begins: 0, and a place in the template text before each change of message."""
    starts, current, last = [0], None, 0
    for index, token in enumerate(tokens):
        if token.message is None:
            continue
        if current is not None and token.message != current:
            starts.append(_line_start(tokens, last + 1, index))
        current, last = token.message, index
    return starts


def _line_start(tokens: list[InspectedToken], first: int, end: int) -> int:
    """The token after the last one of `first` to `end` (exclusive) that ends a line; `first` without one."""
    after_newline = (index + 1 for index in range(end - 1, first - 1, -1) if tokens[index].text.endswith("\n"))
    return next(after_newline, first)
