"""What the conversations and the plain-text corpus are both made of: facts, each said in several ways."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Fact:
    """Something that can be asked, answered and stated.

    Attributes:
        questions: every way to ask for it; a conversation uses one of them.
        answer: the short answer.
        sentence: the answer as a whole sentence, for conversations that ask for sentences.
        prose: statements that hold without the question, for the plain-text corpus.
    """

    questions: tuple[str, ...]
    answer: str
    sentence: str
    prose: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """Something that is told first and asked about afterwards.

    Attributes:
        told: what is told, in a system message or in a user turn.
        reply: what the assistant says to it when it is told in a user turn of its own.
        facts: what can be asked about it.
        by_system: whether a system message may tell it (a price list, but not the user's name).
        prose: the same information in the words of the plain-text corpus.
    """

    told: str
    reply: str
    facts: tuple[Fact, ...]
    by_system: bool
    prose: str


Skill = Callable[[Random], Fact]
"""Draws one fact that needs nothing but its question."""

Scene = Callable[[Random], Setting]
"""Draws one setting."""


def count(number: int, noun: str) -> str:
    """The number with its noun, without the plural's s where the number is one ("1 day", "3 days")."""
    return f"{number} {noun.removesuffix('s') if number == 1 else noun}"
