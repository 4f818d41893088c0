"""Versions of what is installed, held against what this project's packages ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

PACKAGES = ("sft-cli", "sft-train", "sft-kernels", "sft-data", "sft-schema")

_NEED = re.compile(r"([\w.-]+)(?:\[([\w,.-]+)\])?\s*([^;]*)(?:;\s*(.*))?")
_FLOOR = re.compile(r">=\s*([\w.]+)")
_CEILING = re.compile(r"<\s*([\d.]+)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


@dataclass(frozen=True, slots=True)
class Installed:
    """A library that a package of this project uses.

    Attributes:
        name: of the library.
        version: what is installed; None for nothing.
        floor: lowest version that works; None for any.
        ceiling: version from which on nothing is known; None for no such.
        extra: what brings it, as `sft-train[wandb]`; None for what is always needed.
    """

    name: str
    version: str | None
    floor: str | None = None
    ceiling: str | None = None
    extra: str | None = None

    @property
    def problem(self) -> str | None:
        """Why it cannot be used; None when it can, or is an extra that is not installed."""
        wanted = f">={self.floor}" if self.floor else "any version"
        if self.version is None:
            return None if self.extra else f"{self.name} is not installed ({wanted} is needed)"
        if self.floor and _numbers(self.version) < _numbers(self.floor):
            return f"{self.name} {self.version} is older than {self.floor}, the lowest that works"
        if self.ceiling and _numbers(self.version) >= _numbers(self.ceiling):
            return f"{self.name} {self.version} is not older than {self.ceiling}, up to which it is known to work"
        return None


def installed_libraries() -> tuple[Installed, ...]:
    """What the packages of this project declare, each library once, those that are always needed first."""
    found: dict[str, Installed] = {}
    for package in PACKAGES:
        for line in _declared(package):
            each = _read(line, package)
            before = found.get(each.name)
            if each.name not in PACKAGES and (before is None or _is_stricter(each, before)):
                found[each.name] = each
    return tuple(sorted(found.values(), key=lambda each: (each.extra is not None, each.name)))


def own_versions() -> dict[str, str | None]:
    """This project's packages; None for one that is not installed."""
    return {package: _version(package) for package in PACKAGES}


def _declared(package: str) -> list[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


def _read(line: str, package: str) -> Installed:
    match = _NEED.match(line)
    name, _, bounds, marker = match.groups() if match else (line, None, "", None)
    extra = _EXTRA.search(marker or "")
    floor, ceiling = _FLOOR.search(bounds), _CEILING.search(bounds)
    return Installed(
        name,
        _version(name),
        floor and floor[1],
        ceiling and ceiling[1],
        f"{package}[{extra[1]}]" if extra else None,
    )


def _is_stricter(one: Installed, two: Installed) -> bool:
    if (one.extra is None) != (two.extra is None):
        return one.extra is None
    return _numbers(one.floor or "0") > _numbers(two.floor or "0")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """The release numbers of a version; what a local or pre-release version adds does not count."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
