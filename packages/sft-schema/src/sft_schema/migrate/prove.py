"""Takes out of a draft what our own checks refuse, until `parse_config` accepts it."""

from __future__ import annotations

from typing import Any, cast

from sft_schema.errors import ConfigError, Issue, Path, dotted
from sft_schema.foreign.flow import short
from sft_schema.load import parse_config
from sft_schema.migrate.draft import Change, Draft, Origin, Unsupported
from sft_schema.migrate.write import settings_text

_MODEL, _DATA, _RATE = "./PATH-OF-THE-MODEL", "./PATH-OF-THE-DATA.jsonl", 1e-4
_MISSING: dict[Path, Any] = {("base_model",): _MODEL, ("datasets",): [{"path": _DATA}], ("learning_rate",): _RATE}
"""Stand-ins for what every config needs. The paths exist nowhere, so that a run stops at them."""

_WITHOUT_EFFECT = {
    "lora_without_adapter": "without `adapter` it has no effect",
    "eval_without_data": "there are no rows to evaluate on",
    "warmup_of_a_constant": "this schedule has no warm-up",
    "adam_settings_without_adam": "this optimizer has no such setting",
    "setting_of_another_format": "this format does not read it",
}
"""Rules about settings that change nothing, there as here, and may go."""

_GIVES_WAY = {"lora_targets": "lora_target_modules", "two_warmups": "warmup_steps"}
"""The setting that goes when two of them cannot stand together, where it is not the one that the rule points at."""


def prove(draft: Draft) -> None:
    """Takes settings out one by one, each with its reason, until the rest is a valid config."""
    while issue := _first_issue(draft):
        if issue.code == "missing_key" and (issue.path in _MISSING or issue.path[-1] == "path"):
            _stand_in(draft, issue)
        else:
            _take_out(draft, issue)


def _first_issue(draft: Draft) -> Issue | None:
    try:
        parse_config(settings_text(draft.settings))
    except ConfigError as error:
        return error.issues[0]
    return None


def _stand_in(draft: Draft, issue: Issue) -> None:
    path = issue.path
    entry = path[-1] == "path"
    value = _DATA if entry else _MISSING[path]
    if entry:
        draft.settings[str(path[0])][path[1]]["path"] = value
    else:
        draft.settings[str(path[0])] = value
    draft.notes[str(path[0])] = "to be filled in"
    fix = f"replace {short(value)} in the new file"
    draft.unsupported.append(Unsupported(dotted(path), None, None, "the file does not say it", fix))


def _take_out(draft: Draft, issue: Issue) -> None:
    other = _GIVES_WAY.get(issue.code, "")
    path = _remove(draft.settings, (other,) if other in draft.settings else issue.path)
    setting = str(path[0])
    key, line, value = draft.origin.get(setting, (dotted(path), None, None))
    if len(path) > 1:
        _say(draft, (dotted(path), line, value), issue)
        return
    for origin in (*draft.earlier.pop(setting, ()), (key, line, value)):
        _say(draft, origin, issue)


def _say(draft: Draft, origin: Origin, issue: Issue) -> None:
    key, line, value = origin
    if issue.code in _WITHOUT_EFFECT:
        draft.unsupported = [each for each in draft.unsupported if each.key != key]
        draft.changed.append(Change(key, line, f"{key}: {short(value)}", "", _WITHOUT_EFFECT[issue.code]))
    else:
        draft.unsupported.append(Unsupported(key, line, value, issue.message, issue.fix))


def _remove(settings: dict[str, Any], path: Path) -> Path:
    """Removes what stands at `path`, or at its nearest parent that exists; gives the path that was removed."""
    target: Any = settings
    held: list[tuple[Any, str | int]] = []
    for part in path:
        if isinstance(target, dict) and part in target:
            held.append((cast("dict[str, Any]", target), part))
        elif isinstance(target, list) and isinstance(part, int) and part < len(cast("list[Any]", target)):
            held.append((cast("list[Any]", target), part))
        else:
            break
        target = held[-1][0][part]
    place, part = held[-1]
    del place[part]
    return path[: len(held)]
