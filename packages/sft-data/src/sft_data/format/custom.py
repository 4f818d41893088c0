"""A format of the user's own: a function that is named in the config."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from sft_data.format.chat import chat_template
from sft_data.row import Row, RowError
from sft_schema import ConfigError, DataError, Issue
from sft_schema.config import DatasetConfig
from sft_schema.plugin import Registry
from sft_schema.record import Conversation, Example, Segments, Tokens

_PLUGINS: Registry[Callable[..., Any]] = Registry("sft.formats", {}, setting="format_function")


def custom(row: Row, cfg: DatasetConfig) -> Example:
    """What the function `format_function` makes of the row, called as `function(row, cfg)`.

    It gives an example, or a mapping: the columns of a row for `chat_template`. It refuses a row with an exception
    that has a `reason` and a `detail`.

    Raises:
        RowError: the function refuses the row.
        ConfigError: there is no such function.
        DataError: it fails in another way, or gives something else.
    """
    name = cfg.format_function or ""
    function = load_function(name)
    try:
        made = function(row, cfg)
    except Exception as error:
        reason, detail = getattr(error, "reason", None), getattr(error, "detail", None)
        if isinstance(reason, str) and isinstance(detail, str):
            raise RowError(reason, detail) from None
        problem = f"{name} raised {type(error).__name__}: {error}"
        fix = "mend it; to refuse a row, raise an exception with a `reason` and a `detail`"
        raise DataError(problem, where=row.origin.place, fix=fix) from error
    if isinstance(made, Mapping):
        return chat_template(replace(row, values=dict(cast("Mapping[str, Any]", made))), cfg)
    if isinstance(made, Conversation | Segments | Tokens):
        return made
    fix = "return a Conversation, Segments or Tokens of `sft_schema.record`, or the columns of a chat row as a dict"
    raise DataError(f"{name} returned a {type(made).__name__}", where=row.origin.place, fix=fix)


@cache
def load_function(name: str) -> Callable[..., Any]:
    """The function `package.module:function` or `folder/file.py:function`, or a plug-in's format of that name.

    Only what the config names is imported, never anything that the data name.

    Raises:
        ConfigError: it cannot be imported, or is no function.
    """
    where, mark, attribute = name.rpartition(":")
    if not mark:
        return _PLUGINS.find(name)
    found: Any = getattr(_module(where, name), attribute, None)
    if not callable(found):
        raise _refused(name, f"{where} has no function {attribute!r}", "name a function that is in it")
    return found


def _module(where: str, name: str) -> ModuleType:
    try:
        return _from_file(Path(where)) if where.endswith(".py") else import_module(where)
    except Exception as error:
        fix = "give the path of a file, `formats.py:function`, or an installed module, `package.module:function`"
        raise _refused(name, f"{where} cannot be imported: {type(error).__name__}: {error}", fix) from error


def _from_file(file: Path) -> ModuleType:
    name = f"sft_format_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # as dataclasses and `inspect` expect of a module
    spec.loader.exec_module(module)
    return module


def function_digest(name: str) -> str:
    """SHA-256 of the source file of a custom format, so that data made by another version of it are not used."""
    file = inspect.getsourcefile(inspect.unwrap(load_function(name)))
    return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _refused(name: str, message: str, fix: str) -> ConfigError:
    return ConfigError([Issue("no_such_function", ("datasets", "format_function"), f"{name!r}: {message}", fix)])
