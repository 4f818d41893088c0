"""Settles the keys of other systems in a file that was read, before our own checks see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from sft_schema.errors import Issue, Path
from sft_schema.foreign.answer import Accepted, Refusal, objection
from sft_schema.foreign.nearest import SUGGESTIONS, nearest
from sft_schema.foreign.scopes import ANY_SYSTEM, Scope
from sft_schema.foreign.words import problem, remark
from sft_schema.yaml_source import Located


@dataclass(frozen=True, slots=True)
class Settled:
    """What was found.

    Attributes:
        issues: one for each key that cannot stay, with its fix.
        notes: one for each key that was taken out because what it asks for is done anyway.
        about: our top-level keys that the issues are about; nothing more can be said about them yet.
    """

    issues: list[Issue] = field(default_factory=list[Issue])
    notes: list[Issue] = field(default_factory=list[Issue])
    about: set[str] = field(default_factory=set[str])


def settle(located: Located) -> Settled:
    """Takes out of `located.values` what is blank, what asks for what is done anyway, and what is refused.

    A key without a value counts as absent, whoever's it is. Keys that nobody knows stay, for our own checks.
    """
    settled = Settled()
    _settle_mapping(located.values, (), ANY_SYSTEM, located, settled)
    return settled


def _settle_mapping(values: dict[str, Any], path: Path, scope: Scope, located: Located, settled: Settled) -> None:
    for key, value in list(values.items()):
        here = (*path, key)
        if value is None and scope.knows(key):
            del values[key]
        elif key in scope.own:
            _settle_inside(value, here, scope.inner.get(key), located, settled)
            _settle_key(values, here, scope, located, settled)
        elif key in scope.inner and isinstance(value, dict):
            _settle_foreign_mapping(values, here, scope, located, settled)
        else:
            _settle_key(values, here, scope, located, settled)


def _settle_inside(value: Any, path: Path, scope: Scope | None, located: Located, settled: Settled) -> None:
    """The mapping, or the mappings of the list, that a key of ours holds."""
    if scope is not None and isinstance(value, dict):
        _settle_mapping(cast("dict[str, Any]", value), path, scope, located, settled)
    elif scope is not None and isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            if isinstance(item, dict):
                _settle_mapping(cast("dict[str, Any]", item), (*path, index), scope, located, settled)


def _settle_key(values: dict[str, Any], path: Path, scope: Scope, located: Located, settled: Settled) -> None:
    key = str(path[-1])
    answer = scope.answer(key, values[key])
    if answer is None or (isinstance(answer, Accepted) and key in scope.own):
        return
    if said := objection(answer):
        code = "wrong_value" if key in scope.own else "foreign_key"
        settled.issues.append(located.issue(code, path, *problem(scope, key, values[key], said)))
        settled.about.update(scope.about(key, answer) if len(path) == 1 else {str(path[0])})
    else:
        settled.notes.append(located.issue("not_needed", path, *remark(scope, key, values[key], answer)))
    del values[key]


def _settle_foreign_mapping(
    values: dict[str, Any], path: Path, scope: Scope, located: Located, settled: Settled
) -> None:
    """A mapping of another system: refused as a whole, or key by key; a misspelt key in it is named either way."""
    key = str(path[-1])
    inner, held = scope.inner[key], cast("dict[str, Any]", values[key])
    whole = scope.answer(key, held)
    for name, value in held.items():
        here = (*path, name)
        answer = None if value is None and inner.knows(name) else inner.answer(name, value)
        if not inner.knows(name):
            message = f"there is no key {name!r} in {key}"
            fix = nearest(name, value, inner) if len(settled.issues) < SUGGESTIONS else "remove it"
            settled.issues.append(located.issue("unknown_key", here, message, fix))
        elif answer is None or isinstance(whole, Refusal):
            continue
        elif said := objection(answer):
            settled.issues.append(located.issue("foreign_key", here, *problem(inner, name, value, said)))
        else:
            settled.notes.append(located.issue("not_needed", here, *remark(inner, name, value, answer)))
    if isinstance(whole, Refusal):
        _settle_key(values, path, scope, located, settled)
    else:
        del values[key]
