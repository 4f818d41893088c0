"""Values as YAML 1.1 reads them, which the other systems' files are written for."""

from __future__ import annotations

import re
from typing import Any, get_args

from sft_schema.config import SftConfig

_GROUPED = re.compile(r"[-+]?[0-9]+(_[0-9]+)+")
_WORDS = {"yes": True, "on": True, "no": False, "off": False}


def as_yaml_1_1(key: str, value: Any) -> Any:
    """`500_000` as a number, and `yes` or `off` as true or false where `key` is one of our switches."""
    if not isinstance(value, str):
        return value
    if _GROUPED.fullmatch(value):
        return int(value)
    return _WORDS.get(value.lower(), value) if _is_switch(key) else value


def _is_switch(key: str) -> bool:
    field = SftConfig.model_fields.get(key)
    return field is not None and (field.annotation is bool or bool in get_args(field.annotation))
