"""An argument that one optimizer or one schedule takes besides the settings that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument.

    Attributes:
        name: as it is written in `optim_args` or `lr_scheduler_kwargs`.
        kind: type of the value; a whole number passes for a float.
        low: smallest number allowed.
        high: largest number allowed.
        choices: texts allowed.
    """

    name: str
    kind: type[Value]
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def problem(self, value: Value) -> str | None:
        """What is wrong with a value; None when nothing is."""
        fits = type(value) is self.kind or (self.kind is float and type(value) is int)
        if not fits:
            return f"{self.name} is {value!r}, not {_KINDS[self.kind]}"
        if self.choices and value not in self.choices:
            return f"{self.name} is {value!r}, not one of {', '.join(self.choices)}"
        if isinstance(value, int | float) and not self._within(value):
            return f"{self.name} is {value:g}, not {self._range()}"
        return None

    def _within(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def _range(self) -> str:
        ends = [f"at least {self.low:g}"] if self.low is not None else []
        return " and ".join([*ends, *([f"at most {self.high:g}"] if self.high is not None else [])])


_KINDS: Mapping[type[Value], str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def argument_problem(known: tuple[Argument, ...], given: Mapping[str, Value]) -> tuple[str, str] | None:
    """The first argument of `given` that cannot be used: its name and what is wrong with it."""
    by_name = {each.name: each for each in known}
    for name, value in given.items():
        found = f"there is no {name!r}" if name not in by_name else by_name[name].problem(value)
        if found is not None:
            return name, found
    return None
