"""YAML text to plain values, keeping the line and column of each.

Scalars are read by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `1e-4` is a
number and `on` is a text, where PyYAML's own YAML 1.1 rules say the opposite.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, cast

import yaml

from sft_schema.errors import ConfigError, Issue, Path

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 32
MAX_DIGITS = 100

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: value for name, value in (("true", True), ("false", False)) for word in (name, name.title(), name.upper())
}
_QUOTED_STYLES = ("'", '"', "|", ">")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_compose, _parse = cast(Any, yaml).compose, cast(Any, yaml).parse  # the stubs leave them half typed
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map", "merge", "value")
}


@dataclass(slots=True)
class Located:
    """Plain values and where each of them stands.

    Attributes:
        values: dicts, lists, texts, numbers, booleans and None.
        places: path to (line, column), both from 1. A mapping's value has the place of its key.
        issues: what is wrong with the text itself.
        file: name used in messages.
        overridden: paths whose value came from an override instead.
        nodes: values read so far.
    """

    values: Any
    file: str
    places: dict[Path, tuple[int, int]] = field(default_factory=dict[Path, tuple[int, int]])
    issues: list[Issue] = field(default_factory=list[Issue])
    overridden: set[Path] = field(default_factory=set[Path])
    nodes: int = 0

    def issue(self, code: str, path: Path, message: str, fix: str) -> Issue:
        """An issue at the place of `path`, or of its nearest parent that stands in the file."""
        if any(path[: len(over)] == over for over in self.overridden):
            return Issue(code, path, message, fix, "--set")
        known = path
        while known and known not in self.places:
            known = known[:-1]
        line, column = self.places.get(known, (None, None)) if known else (None, None)
        return Issue(code, path, message, fix, self.file, line, column)


def scalar(text: str) -> Any:
    """Value of an unquoted YAML scalar by the core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) <= MAX_DIGITS else text
    if _OCTAL_OR_HEX.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return _SPECIAL.get(text.lower(), text)


def read_text(path: str | FilePath) -> str:
    """The text of a config file.

    Raises:
        ConfigError: there is no such file, or it is not UTF-8.
    """
    try:
        return FilePath(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fix = "give the path of a UTF-8 YAML file"
        raise ConfigError([Issue("unreadable", (), f"cannot be read: {error}", fix, str(path))]) from None


def read_yaml(text: str, file: str) -> Located:
    """Values and places of a YAML text.

    Raises:
        ConfigError: the text is not YAML, is over 1 MB, nests over 32 levels, or expands to over 100,000 values
            (alias bomb).
    """
    located = Located(None, file)
    if len(text) > MAX_BYTES:
        message = f"{len(text):,} characters; a config has at most {MAX_BYTES:,}"
        raise ConfigError([located.issue("too_large", (), message, "keep data out of the config")])
    try:
        _refuse_deep(text, file)
        root: yaml.Node | None = _compose(text, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise ConfigError([_syntax_issue(error, file)]) from None
    if root is not None:
        located.values = _value(root, (), located, ())
    return located


def _refuse_deep(text: str, file: str) -> None:
    """Raises ConfigError for deep nesting before anything recurses into it: libyaml's composer would crash."""
    depth = 0
    for event in _parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            message, fix = f"nests over {MAX_DEPTH} levels", "a config needs no more than a handful of levels"
            raise ConfigError([Issue("too_deep", (), message, fix, file, line, column)])


def _syntax_issue(error: yaml.YAMLError | UnicodeEncodeError, file: str) -> Issue:
    mark: Any = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error).split("\n")[0]
    fix = "indent with spaces, not tabs" if "\\t" in problem else "correct the YAML at this place"
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Issue("yaml_syntax", (), f"not valid YAML: {problem}", fix, file, line, column)


def _value(node: yaml.Node, path: Path, located: Located, parents: tuple[int, ...]) -> Any:
    located.nodes += 1
    if bomb := _bomb(node, located.nodes, parents):
        raise ConfigError([located.issue("alias_bomb", path, bomb, "write the values out without aliases")])
    if node.tag not in _PLAIN_TAGS:
        located.places.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        located.issues.append(
            located.issue("yaml_tag", path, f"tag {node.tag!r} is not allowed", "write a plain value")
        )
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, located, (*parents, id(node)))
    if isinstance(node, yaml.SequenceNode):
        items: list[Any] = []
        for index, item in enumerate(node.value):
            located.places[(*path, index)] = (item.start_mark.line + 1, item.start_mark.column + 1)
            items.append(_value(item, (*path, index), located, (*parents, id(node))))
        return items
    quoted = getattr(node, "style", None) in _QUOTED_STYLES
    return node.value if quoted else scalar(node.value)


def _bomb(node: yaml.Node, nodes: int, parents: tuple[int, ...]) -> str:
    """What is wrong with aliases that make much out of little; empty when nothing is."""
    if id(node) in parents:
        return "aliases that contain themselves"
    if len(parents) > MAX_DEPTH:
        return f"aliases that nest over {MAX_DEPTH} levels"
    return f"over {MAX_NODES:,} values" if nodes > MAX_NODES else ""


def _mapping(node: yaml.MappingNode, path: Path, located: Located, parents: tuple[int, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, yaml.ScalarNode):
            message = "a key is a list or a mapping, not a text"
            located.issues.append(Issue("yaml_key", path, message, "write `key: value`", located.file, *place))
            continue
        key = str(key_node.value)
        here = (*path, key)
        if key in values:
            first = located.places[here][0]
            located.places[here] = place
            located.issues.append(
                located.issue("duplicate_key", here, f"{key!r} stands twice, first in line {first}", "keep one of them")
            )
        located.places[here] = place
        values[key] = _value(value_node, here, located, parents)
    return values
