"""Whose config a file is, told by the keys that only one system has."""

from __future__ import annotations

from collections.abc import Iterable

from sft_schema.errors import ConfigError, Issue
from sft_schema.foreign import SYSTEMS, System

_SHOWN = 5


def detect(keys: Iterable[str], file: str) -> tuple[System, str]:
    """The system, and the sentence that says how it is known.

    Raises:
        ConfigError: no system has more keys of its own in the file than the others.
    """
    present = set(keys)
    telling: dict[System, list[str]] = {system: sorted(present & _alone(system)) for system in SYSTEMS}
    first, second, *_ = sorted(SYSTEMS, key=lambda system: -len(telling[system]))
    if len(telling[first]) == len(telling[second]):
        message = "its keys do not tell whether it is for axolotl, TRL or LLaMA-Factory"
        raise ConfigError([Issue("unknown_system", (), message, "say which: axolotl, trl or llamafactory", file)])
    found = telling[first]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return first, f"only {first} has {', '.join(found[:_SHOWN])}{more}"


def _alone(system: System) -> frozenset[str]:
    """Keys that no other system has. Our own keys are axolotl's."""
    others: set[str] = set()
    return _keys(system) - others.union(*(_keys(other) for other in SYSTEMS if other != system))


def _keys(system: System) -> frozenset[str]:
    scope = SYSTEMS[system]
    return scope.own.union(scope.rows) if system == "axolotl" else frozenset(scope.rows)
