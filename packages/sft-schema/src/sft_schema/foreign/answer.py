"""What a key of another system means here: one row of a table, and the three answers that it can give.

    Accepted   the value asks for what is done here anyway: the key may stay
    Rewrite    the same is said here with other keys or values, or needs no words at all: then it may stay too
    Refusal    it cannot be honoured; the reason, and the nearest supported way

The tables are made of rows by `same`, `renamed`, `refused` and `no_effect`, which take names separated by spaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["same", "renamed", "refused", "no_effect"]
Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The value asks for what is done here anyway."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Other words for the same.

    Attributes:
        settings: our keys and values; empty when the key needs no counterpart.
        why: a few words on the difference, needed when `settings` is empty.
    """

    settings: Settings
    why: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A value that cannot be honoured.

    Attributes:
        reason: why not.
        nearest: the nearest supported way, as an instruction.
        instead: what `sft_schema.migrate` writes in its place; empty leaves it out.
    """

    reason: str
    nearest: str
    instead: Settings = field(default_factory=dict[str, Any])


Answer = Accepted | Rewrite | Refusal


def objection(answer: Answer) -> Rewrite | Refusal | None:
    """The answer, unless a key with it can stay or be left out without a difference."""
    if isinstance(answer, Refusal):
        return answer
    return answer if isinstance(answer, Rewrite) and answer.settings else None


Judge = Callable[[Any], Answer]


@dataclass(frozen=True, slots=True)
class Key:
    """One row: a key of another system.

    Attributes:
        kind: whether we have it, under which circumstances, or not.
        judge: the answer to a value.
        to: our keys that it speaks about.
        accepts: values that are accepted, whatever `judge` would say.
        system: whose key it is.
    """

    kind: Kind
    judge: Judge
    to: tuple[str, ...] = ()
    accepts: tuple[Any, ...] = ()
    system: str = ""

    def answer(self, value: Any) -> Answer:
        """The answer to a value of this key."""
        return Accepted() if is_one_of(value, self.accepts) else self.judge(value)


Rows = dict[str, Key]


def is_one_of(value: Any, choices: tuple[Any, ...]) -> bool:
    """Whether `value` equals one of `choices` and is of its type: 0 is not False, 1.0 is not 1."""
    return any(type(value) is type(choice) and value == choice for choice in choices)


def same(names: str) -> Rows:
    """Keys that we have under the same name and with the same meaning."""
    return {name: Key("same", _as(name), (name,)) for name in names.split()}


def renamed(name: str, to: str, judge: Judge | None = None, *, accepts: tuple[Any, ...] = ()) -> Rows:
    """A key that we have under another name, or whose values are said with other keys.

    Args:
        name: the key.
        to: our keys that it speaks about, separated by spaces.
        judge: the answer to a value; without it the value goes to the one key of `to` as it is.
        accepts: values that may stay.
    """
    return {name: Key("renamed", judge or _as(to), tuple(to.split()), accepts)}


def refused(
    reason: str, nearest: str, names: str = "", *, off: str = "", accepts: tuple[Any, ...] = (), to: str = ""
) -> Rows:
    """Keys that we do not have.

    Args:
        reason: why not.
        nearest: the nearest supported way.
        names: the keys.
        off: further keys, which are accepted when they are false.
        accepts: values of `names` that ask for what is done anyway.
        to: our keys that they speak about.
    """
    judge, ours = _always(Refusal(reason, nearest)), tuple(to.split())
    rows = {name: Key("refused", judge, ours, accepts) for name in names.split()}
    return rows | {name: Key("refused", judge, ours, (False, *accepts)) for name in off.split()}


def judged(name: str, judge: Judge, *, to: str = "", accepts: tuple[Any, ...] = ()) -> Rows:
    """A key that we do not have, where the reason depends on the value."""
    return {name: Key("refused", judge, tuple(to.split()), accepts)}


def no_effect(why: str, names: str, *, accepts: tuple[Any, ...] = ()) -> Rows:
    """Keys that can be left out without any loss: they change nothing there, or nothing that matters here."""
    return {name: Key("no_effect", _always(Rewrite({}, why)), accepts=accepts) for name in names.split()}


def table(system: str, *groups: Rows) -> Rows:
    """Groups of rows as one table.

    Raises:
        ValueError: a key has two rows.
    """
    rows: Rows = {}
    for group in groups:
        if both := rows.keys() & group.keys():
            raise ValueError(f"two rows of {system} for {sorted(both)}")
        rows |= group
    return {name: replace(row, system=system) for name, row in rows.items()}


def _as(key: str) -> Judge:
    return lambda value: Rewrite({key: value})


def _always(answer: Answer) -> Judge:
    return lambda _value: answer
