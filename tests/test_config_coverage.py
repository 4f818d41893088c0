"""Every setting is documented, tried in a test, and read by code that acts on it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sft_schema.config import (
    BitsAndBytesSettings,
    CheckpointingKwargs,
    DatasetConfig,
    LrGroup,
    Section,
    SftConfig,
    SpecialTokens,
)

ROOT = Path(__file__).parents[1]
SECTIONS: tuple[type[Section], ...] = (
    SftConfig,
    DatasetConfig,
    LrGroup,
    CheckpointingKwargs,
    SpecialTokens,
    BitsAndBytesSettings,
)
SETTINGS = [(section, name) for section in SECTIONS for name in section.model_fields]
IDS = [f"{section.__name__}.{name}" for section, name in SETTINGS]

TESTS = [
    path for path in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("packages/*/tests/**/*.py")] if path != Path(__file__)
]
# The schema checks a setting and `sft validate` shows it; neither acts on it.
READERS = [
    path
    for path in ROOT.glob("packages/*/src/**/*.py")
    if "sft_schema" not in path.parts and path.name != "validate.py"
]
HOLDERS = {"cfg", "config", "settings", "dataset", "special_tokens"}


def attributes(tree: ast.AST) -> Iterator[str]:
    """Names read as attributes of something that holds settings: `cfg.name`, `self._cfg.name`, `each.name` of these."""
    loops = {"each"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            base = node.value
            holder = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
            if holder.lstrip("_") in HOLDERS | loops:
                yield node.attr


def names(tree: ast.AST) -> Iterator[str]:
    """Texts that name something to read, such as `getattr(cfg.special_tokens, name)` over a tuple of names."""
    yield from (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def read_settings(paths: list[Path]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {*attributes(tree), *names(tree)}
    return found


READ = read_settings(READERS)
TEXT_OF_TESTS = "\n".join(path.read_text(encoding="utf-8") for path in TESTS)
TESTED = set(re.findall(r"\w+", TEXT_OF_TESTS.replace(r"\n", " ")))


@pytest.mark.parametrize(("section", "name"), SETTINGS, ids=IDS)
def test_a_setting_has_a_sentence(section: type[Section], name: str) -> None:
    doc = section.model_fields[name].description or ""
    assert doc.endswith("."), f"{name} has no sentence that says what it does"
    assert len(doc.split()) > 1 or name == "optimizer", f"{name}: {doc!r} says nothing"


@pytest.mark.parametrize(("section", "name"), SETTINGS, ids=IDS)
def test_a_setting_is_tried_in_a_test(section: type[Section], name: str) -> None:
    assert name in TESTED, f"no test mentions {name}"


@pytest.mark.parametrize(("section", "name"), SETTINGS, ids=IDS)
def test_a_setting_is_read_by_code(section: type[Section], name: str) -> None:
    assert name in READ, f"no code reads {name}: a setting that nothing acts on is a promise that is not kept"


def test_the_search_finds_what_it_is_for(tmp_path: Path) -> None:
    file = tmp_path / "reader.py"
    file.write_text(
        '"""Speaks of documented_only."""\n'
        "def f(cfg, row):\n"
        "    first = cfg.read_plainly\n"
        "    second = [self._cfg.read_of_a_field for _ in row.not_a_setting]\n"
        "    return getattr(cfg, 'read_by_name'), first, second\n",
        encoding="utf-8",
    )
    found = read_settings([file])
    assert {"read_plainly", "read_of_a_field", "read_by_name"} <= found
    assert not {"documented_only", "not_a_setting"} & found
