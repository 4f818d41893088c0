"""Values as one line of YAML that reads back as the same value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast

from sft_schema.yaml_source import scalar

_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*")
_OTHER_IN_1_1 = re.compile(r"(?i:yes|no|on|off|y|n)|[-+]?[0-9][0-9_.]*")
"""Texts of YAML 1.2 that a reader of YAML 1.1 takes for something else."""
_SECRET = re.compile("api_key|secret|hub_token|webhook")
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def flow(value: Any) -> str:
    """A value as YAML on one line: `adamw_torch`, `2e-05`, `[q_proj, v_proj]`, `{role: from}`."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{flow(key)}: {flow(each)}" for key, each in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(each) for each in cast("list[Any]", value)) + "]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and scalar(value) == value and not _OTHER_IN_1_1.fullmatch(value)
        return value if plain else _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return "null" if value is None else repr(value)


def short(value: Any, width: int = 60) -> str:
    """`flow(value)`, cut where it gets long."""
    text = flow(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def shown(key: str, value: Any, width: int = 60) -> str:
    """`short(value)`, unless the key is that of a secret: messages and files are passed on."""
    return "(hidden)" if _SECRET.search(key) else short(value, width)


def said(settings: Mapping[str, Any]) -> str:
    """Settings as they are written in a sentence: `a: 1` and `b: 2`."""
    return " and ".join(f"`{key}: {flow(value)}`" for key, value in settings.items())


def _quoted(text: str) -> str:
    escaped = "".join(
        _ESCAPED.get(character) or (character if character.isprintable() else f"\\U{ord(character):08x}")
        for character in text
    )
    return f'"{escaped}"'
