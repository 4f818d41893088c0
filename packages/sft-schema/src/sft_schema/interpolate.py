"""Environment variables in the values of a config: `${NAME}`, and `${NAME:-text}` with a text for when it is not set.

Only done where it is asked for: a config that means something else on every machine is seldom what is wanted. A value
that is nothing but one variable is read as YAML reads a scalar, so `${RATE}` can be a number; in longer texts the
variable stays text. `$${NAME}` stands for `${NAME}` itself. What is put in is never read as more than one value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from sft_schema.errors import Path
from sft_schema.yaml_source import Located, scalar

_VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<otherwise>[^{}]*))?\}")


def interpolate(located: Located, env: Mapping[str, str]) -> None:
    """Replaces the variables in `located.values`; one that is not set becomes an issue.

    Args:
        located: the file that was read.
        env: names and values of variables.
    """
    located.values = _replaced(located.values, (), located, env)


def _replaced(value: Any, path: Path, located: Located, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _replaced(each, (*path, key), located, env) for key, each in items}
    if isinstance(value, list):
        items = enumerate(cast("list[Any]", value))
        return [_replaced(each, (*path, index), located, env) for index, each in items]
    return _text(value, path, located, env) if isinstance(value, str) else value


def _text(value: str, path: Path, located: Located, env: Mapping[str, str]) -> Any:
    missing = [found["name"] for found in _VARIABLE.finditer(value) if found["otherwise"] is None]
    for name in dict.fromkeys(name for name in missing if name not in env):
        message = f"the environment variable {name} is not set"
        fix = f"set {name}, or write `${{{name}:-text}}` with what holds without it"
        located.issues.append(located.issue("unset_variable", path, message, fix))
    replaced = _VARIABLE.sub(lambda found: env.get(found["name"], found["otherwise"] or ""), value)
    return scalar(replaced) if _VARIABLE.fullmatch(value) else replaced.replace("$${", "${")
