"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sft_schema.config.root import SftConfig
from sft_schema.errors import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule objects to: the setting to point at, the problem, the fix."""

    path: Path
    message: str
    fix: str


Check = Callable[[SftConfig], Finding | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. It is skipped when one of the `keys` that it reads has an issue of its own."""

    code: str
    keys: tuple[str, ...]
    check: Check
