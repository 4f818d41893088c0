"""What a key that nobody has was probably meant to be."""

from __future__ import annotations

from difflib import SequenceMatcher, get_close_matches
from typing import Any

from sft_schema.foreign.scopes import ANY_SYSTEM, Scope
from sft_schema.foreign.words import meaning

SUGGESTIONS = 50
"""Unknown keys of one file for which the nearest one is worth looking up: it takes some milliseconds."""

_LONGEST = 60
"""Keys longer than this are no misspelling of any setting."""

_ALIKE, _SIMILAR = 0.8, 0.6
"""How alike two keys are (difflib's ratio): one is surely, or perhaps, the other misspelt."""


def nearest(key: str, value: Any, scope: Scope = ANY_SYSTEM) -> str:
    """What to do about an unknown key: the right place, the right spelling, or to remove it."""
    other = _other_place(scope)
    ours = _closest(key, scope.own, _SIMILAR)
    theirs = _closest(key, scope.rows.keys() - scope.own, _ALIKE)
    if other is not None and key in other.own:
        return f"{key} belongs to {other.name}"
    if theirs and _likeness(key, theirs) > _likeness(key, ours):
        return f"did you mean {theirs!r}? {meaning(scope, theirs, value)}"
    if other is not None and key in other.rows and _likeness(key, ours) < _ALIKE:
        return f"{key} belongs to {other.name}"
    return f"did you mean {ours!r}?" if ours else "remove it; all settings are in docs/config.md"


def _other_place(scope: Scope) -> Scope | None:
    """Where a key may belong that is misplaced at `scope`: an entry of `datasets`, or the top level."""
    entry = ANY_SYSTEM.inner["datasets"]
    return {id(ANY_SYSTEM): entry, id(entry): ANY_SYSTEM}.get(id(scope))


def _closest(key: str, names: frozenset[str] | set[str], cutoff: float) -> str:
    found = get_close_matches(key, sorted(names), n=1, cutoff=cutoff) if len(key) <= _LONGEST else []
    return found[0] if found else ""


def _likeness(key: str, name: str) -> float:
    return SequenceMatcher(None, name, key).ratio()
