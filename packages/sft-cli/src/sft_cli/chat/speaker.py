"""What the terminal and the page need of a model, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Event
from typing import Any, Protocol

Message = dict[str, str]


class Ended(Protocol):
    """How an answer ended; see `sft_train.answer.End`."""

    @property
    def by(self) -> str: ...  # noqa: D102 - see there
    @property
    def tokens(self) -> int: ...  # noqa: D102
    @property
    def prompt_tokens(self) -> int: ...  # noqa: D102


class Speaker(Protocol):
    """Answers a conversation."""

    def __call__(self, messages: Sequence[Message], settings: Mapping[str, Any], stop: Event) -> Iterator[str | Ended]:
        """Text as it is generated, and last of all how it ended.

        Args:
            messages: roles and contents.
            settings: `max_new_tokens`, `temperature`, `top_p`, each perhaps absent.
            stop: ends the answer when it is set.

        Raises:
            DataError: the conversation cannot be answered.
        """
        ...
