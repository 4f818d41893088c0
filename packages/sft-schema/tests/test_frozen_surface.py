"""The settings, their types and their defaults are frozen: a change is made knowingly, with a version and a line.

`golden/config_surface.json` is the surface as it was released. To write it anew after a change:

    python packages/sft-schema/tests/test_frozen_surface.py
"""

import json
from pathlib import Path
from typing import Any

import pytest

from sft_schema import CONFIG_VERSION
from sft_schema.jsonschema import config_schema, schema_text, shipped_schema

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "config_surface.json"
CHANGELOG = HERE.parent / "CHANGELOG.md"
WRITE = "write the golden file anew: python packages/sft-schema/tests/test_frozen_surface.py"
Surface = dict[str, dict[str, Any]]


def surface() -> Surface:
    """Path of every setting to its schema without the description; `required` where there is no default."""
    schema = config_schema()
    parts = {"": schema, **{f"{name}.": part for name, part in schema["$defs"].items()}}
    return {
        f"{prefix}{name}": {key: value for key, value in setting.items() if key != "description"}
        | ({"required": True} if name in part.get("required", ()) else {})
        for prefix, part in parts.items()
        for name, setting in part["properties"].items()
    }


def breaking(before: Surface, now: Surface) -> list[str]:
    """What would refuse a file that was valid before, or give it another meaning."""
    found = [f"{name} was removed" for name in before if name not in now]
    for name, setting in now.items():
        if name not in before:
            found += [f"{name} is new and required"] if setting.get("required") else []
        elif setting.get("default") != before[name].get("default"):
            found.append(f"{name}: default {before[name].get('default')!r} became {setting.get('default')!r}")
        elif not accepts_all_of(setting, before[name]):
            found.append(f"{name}: {json.dumps(before[name])} became {json.dumps(setting)}")
    return found


def accepts_all_of(setting: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether only values of an enumeration, or other types, were added."""
    branches = alternatives(setting)
    return all(any(has_all_of(branch, old) for branch in branches) for old in alternatives(before))


def alternatives(setting: dict[str, Any]) -> list[dict[str, Any]]:
    """The types that a setting takes, each as a schema of its own."""
    return setting.get("anyOf") or [{key: value for key, value in setting.items() if key != "default"}]


def has_all_of(branch: dict[str, Any], before: dict[str, Any]) -> bool:
    (rest, values), (rest_before, values_before) = (split(each) for each in (branch, before))
    return rest == rest_before and values >= values_before


def split(branch: dict[str, Any]) -> tuple[dict[str, Any], set[Any]]:
    """A schema without its enumeration, and that; a constant is one of a single value."""
    rest = {key: value for key, value in branch.items() if key not in ("enum", "const")}
    return rest, {*branch.get("enum", ()), *([branch["const"]] if "const" in branch else [])}


def judgement(before: dict[str, Any], now: Surface, version: int, changelog: str) -> str | None:
    """What there is to do, or None."""
    settings: Surface = before["settings"]
    found = breaking(settings, now)
    if found and version <= before["config_version"]:
        return (
            f"{'; '.join(found)}. Files that were valid would be refused or mean something else: bump CONFIG_VERSION, "
            f"add the step to sft_schema.version.CONFIG_MIGRATIONS, write the changelog, then {WRITE}"
        )
    if version > before["config_version"] and f"CONFIG_VERSION {version}" not in changelog:
        wanted = f"with the words 'CONFIG_VERSION {version}'"
        return f"CONFIG_VERSION is {version}: write the changelog, {wanted} and what it changes"
    if now != settings or version != before["config_version"]:
        added = sorted(now.keys() - settings.keys())
        return f"the surface grew ({', '.join(added) or 'values or bounds'}): write the changelog, then {WRITE}"
    return None


def test_the_surface_is_the_released_one() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    problem = judgement(golden, surface(), CONFIG_VERSION, CHANGELOG.read_text(encoding="utf-8"))
    assert problem is None, problem


def test_the_shipped_json_schema_is_current() -> None:
    fix = "uv run sft config-schema > packages/sft-schema/src/sft_schema/config.schema.json"
    assert shipped_schema() == schema_text(), f"config.schema.json is not up to date; fix: {fix}"


BEFORE: dict[str, Any] = {
    "config_version": 1,
    "settings": {"seed": {"type": "integer", "default": 42}, "mode": {"enum": ["a", "b"], "default": "a"}},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"seed": None},
            "seed was removed. Files that were valid would be refused or mean something else: bump CONFIG_",
        ),
        ({"seed": {"type": "integer", "default": 7}}, "seed: default 42 became 7. Files"),
        ({"seed": {"type": "string", "default": 42}}, "seed: {"),
        ({"seed": {"type": "integer", "default": 42, "minimum": 1}}, "seed: {"),
        ({"mode": {"enum": ["a"], "default": "a"}}, "mode: {"),
        ({"extra": {"type": "string", "required": True}}, "extra is new and required. Files"),
        ({"extra": {"type": "string", "default": ""}}, "the surface grew (extra): write the changelog"),
        ({"mode": {"enum": ["a", "b", "c"], "default": "a"}}, "the surface grew (values or bounds)"),
        ({"seed": {"anyOf": [{"type": "integer"}, {"type": "number"}], "default": 42}}, "the surface grew (values or"),
        ({"seed": {"anyOf": [{"type": "string"}, {"type": "number"}], "default": 42}}, "seed: {"),
    ],
)
def test_a_changed_surface_is_answered_with_what_to_do(change: dict[str, Any], said: str) -> None:
    settings = {**BEFORE["settings"], **change}
    now = {name: setting for name, setting in settings.items() if setting is not None}
    problem = judgement(BEFORE, now, 1, "")
    assert problem is not None
    assert said in problem
    assert "write the changelog" in problem


def test_a_new_version_needs_its_line_in_the_changelog_and_a_new_golden_file() -> None:
    now = {"mode": BEFORE["settings"]["mode"]}
    silent, stale = judgement(BEFORE, now, 2, "- First version."), judgement(BEFORE, now, 2, "- CONFIG_VERSION 2: seed")
    assert silent is not None
    assert "with the words 'CONFIG_VERSION 2'" in silent
    assert stale is not None
    assert "write the golden file anew" in stale
    assert judgement({"config_version": 2, "settings": now}, now, 2, "- CONFIG_VERSION 2: seed") is None


if __name__ == "__main__":
    text = json.dumps({"config_version": CONFIG_VERSION, "settings": surface()}, indent=1, sort_keys=True)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
