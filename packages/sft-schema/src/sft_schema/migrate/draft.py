"""The new config while it is made, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

Origin = tuple[str, int | None, Any]
"""Key, line and value of the old file."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that stands in other words in the new file, or was left out without loss.

    Attributes:
        key: the old key, with its mapping or entry, such as `datasets[0].message_field_role`.
        line: its line in the old file; None for a default that the new file spells out.
        before: `key: value` of the old file; empty for such a default.
        after: what the new file says; empty when it needs no words.
        why: a few words; may be empty for a plain new name.
    """

    key: str
    line: int | None
    before: str
    after: str
    why: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Something that could not be carried over.

    Attributes:
        key: the old key.
        line: its line in the old file; None when the old file lacks it.
        value: its value.
        reason: why not.
        nearest: the nearest supported way, as an instruction.
    """

    key: str
    line: int | None
    value: Any
    reason: str
    nearest: str


@dataclass(slots=True)
class Draft:
    """The settings of the new file so far.

    Attributes:
        settings: our top-level keys and values.
        notes: our top-level key to a few words that stand behind it in the new file.
        origin: our top-level key to what it comes from, the last such key of the old file.
        earlier: our top-level key to the other keys of the old file that say the same or fill it too.
        provisional: our keys whose value only stands in for one that could not be carried over.
        changed: see `Change`.
        unsupported: see `Unsupported`.
    """

    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: dict[str, str] = field(default_factory=dict[str, str])
    origin: dict[str, Origin] = field(default_factory=dict[str, Origin])
    earlier: dict[str, list[Origin]] = field(default_factory=dict[str, "list[Origin]"])
    provisional: set[str] = field(default_factory=set[str])
    changed: list[Change] = field(default_factory=list[Change])
    unsupported: list[Unsupported] = field(default_factory=list[Unsupported])

    def add(self, said: Mapping[str, Any], origin: Origin, *, provisional: bool = False) -> str:
        """Adds settings; gives the key of ours that says something else already, or an empty text.

        Mappings and the first entries of lists of mappings are joined, so that several old keys can fill one.
        """
        for key, value in said.items():
            known = key in self.settings and key not in self.provisional
            if known and provisional:
                continue
            joined = joined_with(self.settings[key], value) if known else value
            if joined is None:
                return key
            if known:
                self.earlier.setdefault(key, []).append(self.origin[key])
            self.settings[key] = joined
            self.origin[key] = origin
            (self.provisional.add if provisional else self.provisional.discard)(key)
        return ""

    def drop_change(self, key: str, why: str) -> None:
        """Says of an old key that it needs no words after all."""
        self.changed = [replace(each, after="", why=why) if each.key == key else each for each in self.changed]


def joined_with(old: Any, new: Any) -> Any:
    """`old` with what `new` adds; None when the two contradict each other."""
    if isinstance(old, dict) and isinstance(new, dict):
        both = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        return None if any(both[0].get(key, each) != each for key, each in both[1].items()) else both[0] | both[1]
    entries = _only_entry(old), _only_entry(new)
    if entries[0] is not None and entries[1] is not None:
        entry = joined_with(*entries)
        return None if entry is None else [entry]
    return cast(Any, old) if old == new else None


def _only_entry(value: Any) -> dict[str, Any] | None:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return cast("dict[str, Any]", items[0]) if len(items) == 1 and isinstance(items[0], dict) else None
