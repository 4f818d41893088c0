"""Every key of the old file to our keys, to the list of changes, or to the list of what is not supported."""

from __future__ import annotations

from typing import Any, cast

from sft_schema.errors import Path, dotted
from sft_schema.foreign import ENTRIES, SUGGESTIONS, Refusal, Rewrite, Scope, nearest
from sft_schema.foreign.flow import said, short
from sft_schema.foreign.old_yaml import as_yaml_1_1
from sft_schema.migrate.draft import Change, Draft, Unsupported
from sft_schema.yaml_source import Located

_ANYWAY = "it asks for what is done anyway"


def carry(located: Located, scope: Scope) -> Draft:
    """The old file's keys as a draft of ours. Keys without a value count as absent.

    Args:
        located: the old file.
        scope: the top level of its system's files.
    """
    draft = Draft()
    _Carrier(located, draft).mapping(cast("dict[str, Any]", located.values), (), scope, draft.settings)
    return draft


class _Carrier:
    def __init__(self, located: Located, draft: Draft) -> None:
        self._located, self._draft = located, draft

    def mapping(self, values: dict[str, Any], path: Path, scope: Scope, target: dict[str, Any]) -> None:
        """The keys of a mapping of the old file into `target`, a mapping of the new one."""
        for key, value in values.items():
            here = (*path, key)
            if value is None and scope.knows(key):
                continue
            inner = scope.inner.get(key)
            if inner is not None and key in scope.own and self._holds_mappings(key, value):
                self._own_inner(key, value, inner)
            elif inner is not None and key not in scope.own and isinstance(value, dict):
                self._foreign_inner(here, cast("dict[str, Any]", value), scope, inner)
            else:
                self._key(here, as_yaml_1_1(key, value), scope, target)

    def _holds_mappings(self, key: str, value: Any) -> bool:
        items = cast("list[Any]", value if key in ENTRIES and isinstance(value, list) else [value])
        return bool(items) and all(isinstance(item, dict) for item in items)

    def _own_inner(self, key: str, value: Any, scope: Scope) -> None:
        """`special_tokens`, or the entries of `datasets`: judged key by key."""
        entries = cast("list[dict[str, Any]]", value if isinstance(value, list) else [value])
        done: list[dict[str, Any]] = []
        for index, entry in enumerate(entries):
            path: Path = (key, index) if isinstance(value, list) else (key,)
            done.append({})
            self.mapping(entry, path, scope, done[-1])
        new = done if isinstance(value, list) or key in ENTRIES else done[0]
        self._add({key: new}, (key,), value, "")

    def _foreign_inner(self, path: Path, value: dict[str, Any], scope: Scope, inner: Scope) -> None:
        key = str(path[-1])
        whole = scope.answer(key, value)
        for name, each in value.items():
            if not inner.knows(name):
                self._unknown((*path, name), each, inner)
            elif not isinstance(whole, Refusal) and each is not None:
                self._key((*path, name), each, inner, {})
        if isinstance(whole, Refusal):
            self._refuse(path, value, whole)

    def _key(self, path: Path, value: Any, scope: Scope, target: dict[str, Any]) -> None:
        key = str(path[-1])
        answer = scope.answer(key, value)
        if answer is None:
            self._unknown(path, value, scope)
        elif isinstance(answer, Refusal):
            self._refuse(path, value, answer, target)
        elif isinstance(answer, Rewrite):
            self._rewrite(path, value, answer, target)
        elif key in scope.own and len(path) == 1:
            self._add({key: value}, path, value, "")
        elif key in scope.own:
            target[key] = value
        else:
            self._changed(path, value, "", _ANYWAY)

    def _rewrite(self, path: Path, value: Any, answer: Rewrite, target: dict[str, Any]) -> None:
        key = str(path[-1])
        if len(path) > 1:
            _join(target, answer.settings)
        elif not self._add(answer.settings, path, value, key):
            return
        self._changed(path, value, said(answer.settings).replace("`", ""), answer.why)

    def _refuse(self, path: Path, value: Any, answer: Refusal, target: dict[str, Any] | None = None) -> None:
        line = self._line(path)
        self._draft.unsupported.append(Unsupported(dotted(path), line, value, answer.reason, answer.nearest))
        if len(path) > 1:
            _join({} if target is None else target, answer.instead)
            return
        self._draft.add(answer.instead, (dotted(path), line, value), provisional=True)
        for key in answer.instead:
            self._draft.notes.setdefault(key, f"in place of {dotted(path)}: {short(value)}")

    def _unknown(self, path: Path, value: Any, scope: Scope) -> None:
        few = len(self._draft.unsupported) < SUGGESTIONS
        fix = nearest(str(path[-1]), value, scope) if few else "remove it"
        line = self._line(path)
        self._draft.unsupported.append(Unsupported(dotted(path), line, value, "there is no such key", fix))

    def _add(self, settings: Any, path: Path, value: Any, note: str) -> bool:
        """Whether top-level settings fit to what is there; what does not is listed as unsupported."""
        origin = (dotted(path), self._line(path), value)
        if other := self._draft.add(settings, origin):
            before = self._draft.origin[other][0]
            reason = f"it contradicts {before}, which says `{other}: {short(self._draft.settings[other])}`"
            self._draft.unsupported.append(Unsupported(*origin, reason, f"check `{other}`"))
            return False
        for key in settings if note else ():
            self._draft.notes[key] = note
        return True

    def _changed(self, path: Path, value: Any, after: str, why: str) -> None:
        before = f"{path[-1]}: {short(value)}"
        self._draft.changed.append(Change(dotted(path), self._line(path), before, after, why))

    def _line(self, path: Path) -> int | None:
        place = self._located.places.get(path)
        return place[0] if place else None


def _join(target: dict[str, Any], settings: Any) -> None:
    """Settings of an entry into that entry; mappings are joined."""
    for key, value in settings.items():
        both = isinstance(target.get(key), dict) and isinstance(value, dict)
        target[key] = {**target[key], **value} if both else value
