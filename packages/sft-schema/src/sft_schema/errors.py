"""Every way an input can be wrong, as one tree.

    SftError
    ├── ConfigError    the YAML, an override or a combination of settings; carries all issues at once
    ├── DataError      a file, a row or a template; says where
    ├── ContractError  a record broke a promise of this package: a bug in a format, packer or collator
    ├── TrainingError  a run that cannot go on, such as a loss that is not a number
    └── StoppedEarlyError   a run that was asked to stop, and has saved a checkpoint to go on from

`ConfigError` and `DataError` are the user's to mend (exit code 2); `ContractError` and `TrainingError` are not (exit
code 1). `StoppedEarlyError` is no fault at all: the run goes on when it is started again (exit code 75).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """`("datasets", 0, "path")` as the `datasets[0].path` that people write."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with a config: what, where, the value, and the fix.

    Attributes:
        code: stable short name, such as `unknown_key`.
        path: keys and indices from the root of the file.
        message: what is wrong, with the value.
        fix: what to write instead.
        file: the file, or `--set` for an override.
        line: line in the file, counted from 1; None when the key is absent.
        column: column, counted from 1.
    """

    code: str
    path: Path
    message: str
    fix: str
    file: str = "<config>"
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {dotted(self.path) or 'file'}: {self.message}\n    fix: {self.fix} [{self.code}]"


class SftError(Exception):
    """Base of all errors that this project raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """An error crosses the border between processes whole, although its constructor takes keywords."""
        return _made_again, (type(self), self.args, dict(self.__dict__))


def _made_again(kind: type[SftError], args: tuple[Any, ...], values: dict[str, Any]) -> SftError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(values)
    return error


class ConfigError(SftError):
    """A config that cannot be honoured. `issues` holds every problem found, in file order."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        count = "1 problem" if len(self.issues) == 1 else f"{len(self.issues)} problems"
        super().__init__("\n".join([*map(str, self.issues), f"{count} in the config"]))


class DataError(SftError):
    """Data, a tokenizer or a chat template that cannot be used.

    Args:
        message: what is wrong, with the value.
        where: file and line, data set and row, or template.
        fix: what to do about it.
    """

    def __init__(self, message: str, *, where: str, fix: str) -> None:
        self.message, self.where, self.fix = message, where, fix
        super().__init__(f"{where}: {message}\n    fix: {fix}")


class ContractError(SftError):
    """A record that does not keep its contract (see `sft_schema.check`)."""


class TrainingError(SftError):
    """A run that must stop: going on would give a wrong or useless model."""

    def __init__(self, message: str, *, fix: str) -> None:
        self.message, self.fix = message, fix
        super().__init__(f"{message}\n    fix: {fix}")


class StoppedEarlyError(SftError):
    """A run that stopped before its end because it was asked to, after a checkpoint.

    Args:
        message: who asked, and what was saved.
        fix: how to go on.
    """

    def __init__(self, message: str, *, fix: str) -> None:
        self.message, self.fix = message, fix
        super().__init__(f"{message}\n    fix: {fix}")
