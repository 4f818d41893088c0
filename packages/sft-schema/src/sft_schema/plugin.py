"""Plug-ins: parts of other distributions, found by name.

A distribution offers a part through an entry point, in the group of its kind:

    [project.entry-points."sft.formats"]
    my_format = "my_package.formats:my_format"

and the name is then a value of the setting that chooses such a part. A name stands for one part: two distributions
that offer the same name, or one that offers a built-in name, are refused, because which one would run would depend on
the order of the search path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Literal, TypeVar, cast, get_args

from sft_schema.errors import ConfigError, Issue, Path

Group = Literal[
    "sft.sources",
    "sft.formats",
    "sft.packers",
    "sft.optimizers",
    "sft.adapters",
    "sft.callbacks",
    "sft.attention_backends",
    "sft.training",
]
GROUPS: tuple[Group, ...] = get_args(Group)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A part that a distribution offers. Nothing of it has been imported yet.

    Attributes:
        group: its kind.
        name: its name in a config.
        value: `module:object`.
        distribution: the distribution that offers it.
        version: that distribution's version.
    """

    group: str
    name: str
    value: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.value})"


def find_plugins(group: Group) -> tuple[Plugin, ...]:
    """All parts of one kind that installed distributions offer, sorted by name and distribution."""
    found = {_plugin(entry) for entry in entry_points(group=group)}
    return tuple(sorted(found, key=lambda each: (each.name, each.distribution, each.value)))


def _plugin(entry: EntryPoint) -> Plugin:
    distribution = entry.dist
    name = "an unnamed distribution" if distribution is None else distribution.name
    return Plugin(entry.group, entry.name, entry.value, name, "" if distribution is None else distribution.version)


class Registry(Generic[T]):
    """The parts of one kind by name: built-in ones, and those of installed distributions.

    Args:
        group: the kind.
        built_in: this project's own parts.
        setting: the setting that chooses one, for error messages.
    """

    def __init__(self, group: Group, built_in: Mapping[str, T], *, setting: str) -> None:
        self.group: Group = group
        self._built_in, self._setting = built_in, setting

    def names(self) -> tuple[str, ...]:
        """Every name that can be asked for, built-in ones first."""
        offered = (each.name for each in find_plugins(self.group))
        return tuple(dict.fromkeys((*self._built_in, *offered)))

    def find(self, name: str, path: Path = ()) -> T:
        """The part with this name, imported now if a plug-in offers it.

        Args:
            name: as in the config.
            path: where in the config; the registry's setting when not given.

        Raises:
            ConfigError: nobody offers it, several do, or the plug-in cannot be imported.
        """
        offers = [each for each in find_plugins(self.group) if each.name == name]
        if len(offers) > 1 or (offers and name in self._built_in):
            raise self._several(name, offers, path)
        if offers:
            return cast(T, self._load(offers[0], path))
        if name not in self._built_in:
            raise self._unknown(name, path)
        return self._built_in[name]

    def _load(self, plugin: Plugin, path: Path) -> Any:
        entry = EntryPoint(plugin.name, plugin.value, plugin.group)
        try:
            return entry.load()
        except Exception as error:  # a foreign module can raise anything when it is imported
            cause = f"{type(error).__name__}: {error}"
            message = f"{plugin.name!r} of {plugin} cannot be imported: {cause}"
            fix = f"mend or uninstall {plugin.distribution}"
            raise self._refused("broken_plugin", path, message, fix) from error

    def _several(self, name: str, offers: list[Plugin], path: Path) -> ConfigError:
        own = ["this project itself"] if name in self._built_in else []
        message = f"{name!r} is offered by {' and by '.join([*own, *map(str, offers)])}"
        fix = f"uninstall {' or '.join(dict.fromkeys(each.distribution for each in offers))}"
        return self._refused("plugin_twice", path, message, fix)

    def _unknown(self, name: str, path: Path) -> ConfigError:
        names = self.names()
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join(names) or "nothing"
        fix = f"{hint}known are {known}; others come with a distribution that has an entry point in {self.group!r}"
        return self._refused("unknown_plugin", path, f"nobody offers {name!r}", fix)

    def _refused(self, code: str, path: Path, message: str, fix: str) -> ConfigError:
        return ConfigError([Issue(code, path or (self._setting,), message, fix)])
