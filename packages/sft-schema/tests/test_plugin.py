"""Parts of other distributions are found by name, with distributions that are really on the search path."""

import sys
from pathlib import Path

import pytest

from sft_schema import ConfigError
from sft_schema.plugin import GROUPS, Registry, find_plugins

BUILT_IN = {"alpaca": len}


class SearchPath:
    """A folder on the search path into which distributions are installed, as an installer would lay them out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, name: str, entry_points: str, *, version: str = "1.0", module: str = "def shout(row): ..."
    ) -> None:
        module_name = name.replace("-", "_")
        (self.folder / f"{module_name}.py").write_text(module, encoding="utf-8")
        info = self.folder / f"{module_name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        files = [f"{module_name}.py", f"{info.name}/METADATA", f"{info.name}/entry_points.txt", f"{info.name}/RECORD"]
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files), encoding="utf-8")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchPath:
    monkeypatch.syspath_prepend(str(tmp_path))
    return SearchPath(tmp_path)


@pytest.fixture
def formats() -> Registry[object]:
    return Registry("sft.formats", BUILT_IN, setting="type")


def refusal(registry: Registry[object], name: str) -> tuple[str, str, str]:
    with pytest.raises(ConfigError) as caught:
        registry.find(name, ("datasets", 0, "type"))
    (issue,) = caught.value.issues
    assert issue.path == ("datasets", 0, "type")
    return issue.code, issue.message, issue.fix


def test_a_part_of_an_installed_distribution_is_found_by_name(path: SearchPath, formats: Registry[object]) -> None:
    path.install(
        "tiny-formats", "[sft.formats]\nshout = tiny_formats:shout\n[sft.packers]\npack = tiny_formats:shout\n"
    )
    (plugin,) = find_plugins("sft.formats")
    assert (plugin.name, plugin.distribution, plugin.version) == ("shout", "tiny-formats", "1.0")
    assert formats.names() == ("alpaca", "shout")
    found = formats.find("shout")
    assert callable(found)
    assert (found.__module__, found.__name__) == ("tiny_formats", "shout")
    assert formats.find("alpaca") is len


def test_listing_names_imports_no_plugin(path: SearchPath, formats: Registry[object]) -> None:
    path.install("bomb", "[sft.formats]\nbomb = bomb:x\n", module="raise SystemExit('imported')")
    assert formats.names() == ("alpaca", "bomb")


def test_a_name_that_two_distributions_offer_is_refused_naming_both(
    path: SearchPath, formats: Registry[object]
) -> None:
    path.install("one-formats", "[sft.formats]\nshout = one_formats:shout\n")
    path.install("two-formats", "[sft.formats]\nshout = two_formats:shout\n", version="2.5")
    assert refusal(formats, "shout") == (
        "plugin_twice",
        "'shout' is offered by one-formats 1.0 (one_formats:shout) and by two-formats 2.5 (two_formats:shout)",
        "uninstall one-formats or two-formats",
    )
    assert formats.find("alpaca") is len


def test_a_built_in_name_cannot_be_taken_over(path: SearchPath, formats: Registry[object]) -> None:
    path.install("rude", "[sft.formats]\nalpaca = rude:shout\n")
    code, message, fix = refusal(formats, "alpaca")
    assert code == "plugin_twice"
    assert message == "'alpaca' is offered by this project itself and by rude 1.0 (rude:shout)"
    assert fix == "uninstall rude"


@pytest.mark.parametrize(
    ("module", "target", "cause"),
    [
        ("import no_such_module_here", "broken:shout", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("", "broken:gone", "AttributeError: module 'broken' has no attribute 'gone'"),
        ("1 / 0", "broken:shout", "ZeroDivisionError: division by zero"),
        ("def", "broken:shout", "SyntaxError: "),
    ],
)
def test_a_broken_plugin_is_named_with_its_distribution_and_cause(
    path: SearchPath, formats: Registry[object], monkeypatch: pytest.MonkeyPatch, module: str, target: str, cause: str
) -> None:
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    path.install("broken", f"[sft.formats]\nshout = {target}\n", module=module)
    code, message, fix = refusal(formats, "shout")
    assert code == "broken_plugin"
    assert message.startswith(f"'shout' of broken 1.0 ({target}) cannot be imported: {cause}")
    assert fix == "mend or uninstall broken"
    assert formats.find("alpaca") is len


def test_an_unknown_name_is_answered_with_the_nearest(path: SearchPath, formats: Registry[object]) -> None:
    path.install("tiny-formats", "[sft.formats]\nshout = tiny_formats:shout\n")
    code, message, fix = refusal(formats, "shuot")
    assert (code, message) == ("unknown_plugin", "nobody offers 'shuot'")
    assert fix.startswith("did you mean 'shout'? known are alpaca, shout; ")
    assert "'sft.formats'" in fix
    assert refusal(formats, "zzz")[2].startswith("known are alpaca, shout; ")


def test_one_distribution_seen_twice_is_one(
    path: SearchPath, tmp_path: Path, formats: Registry[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable install can be on the search path twice."""
    path.install("tiny-formats", "[sft.formats]\nshout = tiny_formats:shout\n")
    other = SearchPath(tmp_path / "again")
    other.folder.mkdir()
    other.install("tiny-formats", "[sft.formats]\nshout = tiny_formats:shout\n")
    monkeypatch.syspath_prepend(str(other.folder))
    assert formats.names() == ("alpaca", "shout")
    assert callable(formats.find("shout"))


def test_an_error_points_at_the_setting_when_no_path_is_given(formats: Registry[object]) -> None:
    with pytest.raises(ConfigError, match="type: nobody offers 'x'"):
        formats.find("x")


def test_every_kind_has_its_group(path: SearchPath) -> None:
    lines = "".join(f"[{group}]\nshout = all_kinds:shout\n" for group in GROUPS)
    path.install("all-kinds", lines)
    assert len(GROUPS) == 8
    for group in GROUPS:
        registry: Registry[object] = Registry(group, {}, setting="x")
        assert callable(registry.find("shout"))
