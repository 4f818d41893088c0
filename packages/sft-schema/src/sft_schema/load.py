"""YAML file and overrides to a checked `SftConfig`, or every problem at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from sft_schema.advice import USUAL_RANGES
from sft_schema.config import SftConfig
from sft_schema.config.implied import implied
from sft_schema.config.rules import RULES
from sft_schema.engine import engine_config
from sft_schema.errors import ConfigError, Issue, Path
from sft_schema.foreign import ANY_SYSTEM, INNER_SECTIONS, SUGGESTIONS, nearest, settle
from sft_schema.foreign.flow import flow
from sft_schema.foreign.old_yaml import as_yaml_1_1
from sft_schema.interpolate import interpolate
from sft_schema.yaml_source import Located, read_text, read_yaml

_STAND_INS: dict[str, Any] = {"base_model": "?", "datasets": [{"path": "?"}], "learning_rate": 1e-4}
_SHOWN = 200
"""Characters of a wrong value that are shown."""


def load_config(
    path: str | FilePath,
    overrides: Sequence[str] = (),
    *,
    note: Callable[[Issue], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> SftConfig:
    """The checked config of a YAML file.

    Args:
        path: the file.
        overrides: `key=value` texts; the value is read as YAML, `datasets.0.path=x` reaches into lists.
        note: hears of each key of another system that was left out, because what it asks for is done anyway.
        env: variables that `${NAME}` in the file stands for, such as `os.environ`; without it that is plain text.

    Raises:
        ConfigError: with every problem of the file and the overrides.
    """
    return parse_config(read_text(path), file=str(path), overrides=overrides, note=note, env=env)


def parse_config(
    text: str,
    *,
    file: str = "<text>",
    overrides: Sequence[str] = (),
    note: Callable[[Issue], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> SftConfig:
    """The checked config of a YAML text; see `load_config`."""
    located = read_yaml(text, file)
    if located.values is None:
        located.values = {}
    if not isinstance(located.values, dict):
        message = f"holds a {type(located.values).__name__}, not `key: value` pairs"
        raise ConfigError([located.issue("not_a_mapping", (), message, "write `base_model: ...` and so on")])
    if env is not None:
        interpolate(located, env)
    for override in overrides:
        _override(located, override)
    return _check(located, note)


def _override(located: Located, override: str) -> None:
    key, equals, text = override.partition("=")
    path: Path = tuple(int(part) if part.isdecimal() else part for part in key.strip().split("."))
    if not equals or not key.strip():
        message = f"{override!r} is not of the form key=value"
        located.issues.append(Issue("override", (), message, "write --set key=value", "--set"))
        return
    inner = read_yaml(text, "--set")
    located.issues.extend(inner.issues)
    if not _put(located.values, path, inner.values):
        located.issues.append(Issue("override", path, f"there is no {key!r} to set", "check the path", "--set"))
    for known in [known for known in located.places if known[: len(path)] == path]:
        del located.places[known]
    located.overridden.add(path)


def _put(target: Any, path: Path, value: Any) -> bool:
    """Sets `value` at `path`, making mappings on the way; False when the path leads nowhere."""
    part, rest = path[0], path[1:]
    if not _holds(target, part):
        return False
    if not rest:
        target[part] = value
        return True
    if isinstance(part, str) and target.get(part) is None:
        target[part] = {}
    return _put(target[part], rest, value)


def _holds(target: Any, part: str | int) -> bool:
    """Whether `target[part]` can be set: any key of a mapping, an existing index of a list."""
    if isinstance(part, str):
        return isinstance(target, dict)
    return isinstance(target, list) and part < len(cast("list[Any]", target))


def _check(located: Located, note: Callable[[Issue], None] | None) -> SftConfig:
    unread = _read_engine_files(located)
    settled = settle(located)
    issues = [*located.issues, *settled.issues]
    values: dict[str, Any] = located.values
    for key in settled.about & _STAND_INS.keys():
        values.setdefault(key, _STAND_INS[key])
    _fill_in(located, settled.about)
    broken: set[str | int] = {*settled.about, *unread}
    try:
        config = SftConfig.model_validate_json(json.dumps(values))
    except ValidationError as error:
        found = _value_issues(error, located)
        issues.extend(found)
        broken |= {issue.path[0] for issue in found if issue.path}
        kept = {key: value for key, value in values.items() if key not in broken}
        config = SftConfig.model_validate_json(json.dumps({**_STAND_INS, **kept}))
    for rule in RULES:
        if broken.isdisjoint(rule.keys) and (finding := rule.check(config)):
            issues.append(located.issue(rule.code, finding.path, finding.message, finding.fix))
    if issues:
        raise ConfigError(sorted(issues, key=lambda issue: (issue.line or 0, issue.column or 0)))
    if note is not None:
        for each in settled.notes:
            note(each)
    return config


def _read_engine_files(located: Located) -> set[str]:
    """Puts the files that `fsdp_config` and `deepspeed` name in their place; returns the keys where that failed."""
    failed: set[str] = set()
    for key in ("fsdp_config", "deepspeed"):
        value = located.values.get(key)
        if not isinstance(value, str):
            continue
        try:
            located.values[key] = engine_config(key, value)
        except ConfigError as error:
            (issue,) = error.issues
            located.issues.append(located.issue(issue.code, issue.path, issue.message, issue.fix))
            del located.values[key]
            failed.add(key)
    return failed


def _fill_in(located: Located, about: set[str]) -> None:
    """Keys that others imply, at the place of these."""
    for key, value, given in implied(located.values):
        if key not in about:
            located.values[key] = value
            if (given,) in located.places:
                located.places[key,] = located.places[given,]


def _value_issues(error: ValidationError, located: Located) -> list[Issue]:
    """One issue per path and none for its parents: a union's branches all report the same value."""
    by_path: dict[Path, list[Any]] = {}
    for detail in error.errors(include_url=False, include_context=False):
        by_path.setdefault(_path_in(located.values, detail["loc"]), []).append(detail)
    parents = {path[:length] for path in by_path for length in range(len(path))}
    inner = [path for path in by_path if path and path not in parents]
    return [_value_issue(path, by_path[path], located, number) for number, path in enumerate(inner)]


def _path_in(values: Any, loc: tuple[int | str, ...]) -> Path:
    """The part of pydantic's location that names keys and indices; the rest names union branches, such as sections."""
    path: Path = ()
    for part in loc:
        if isinstance(values, Mapping) and (part in values or not path or isinstance(path[-1], int)):
            values = values.get(part)  # pyright: ignore
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part] if part < len(values) else None  # pyright: ignore
        elif part in {section.__name__ for section in INNER_SECTIONS.values()}:
            continue
        else:
            break
        path = (*path, part)
    return path


def _value_issue(path: Path, details: list[Any], located: Located, number: int) -> Issue:
    kinds = {detail["type"] for detail in details}
    key, section = str(path[-1]), _section_of(path)
    value = details[0]["input"]
    if "extra_forbidden" in kinds:
        scope = ANY_SYSTEM.inner[str(path[0])] if len(path) > 1 else ANY_SYSTEM
        fix = nearest(key, value, scope) if number < SUGGESTIONS else "remove it; all settings are in docs/config.md"
        return located.issue("unknown_key", path, f"there is no setting {key!r}", fix)
    doc = _doc(key, section)
    if "missing" in kinds:
        return located.issue("missing_key", path, f"{key} is required", f"add `{key}: ...`: {doc}")
    wanted = " or ".join(sorted({_plain(detail["msg"]) for detail in details}))
    older = as_yaml_1_1(key, value)
    fix = (
        f"{_usual(key)}{key}: {doc}"
        if older is value
        else f"write `{key}: {flow(older)}`; {value!r} is a text in YAML 1.2"
    )
    return located.issue("wrong_value", path, f"{wanted}, but is {_shown(value)}", fix)


def _usual(key: str) -> str:
    """What is usual for a number, to begin a fix with; empty for settings that the table does not have."""
    rows = (row.ranges.values() for row in USUAL_RANGES if row.key == key)
    spans = dict.fromkeys(f"{lowest:g} to {highest:g}" for ranges in rows for lowest, highest in ranges)
    return f"usual are {' or '.join(spans)}; " if spans else ""


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _plain(message: str) -> str:
    return message.replace("Input should be", "must be").replace("Field required", "is required")


def _section_of(path: Path) -> type[BaseModel]:
    return INNER_SECTIONS.get(str(path[0]), SftConfig) if len(path) > 1 else SftConfig


def _doc(key: str, section: type[BaseModel]) -> str:
    field = section.model_fields.get(key)
    return field.description if field is not None and field.description else "see docs/config.md"
