"""A plan as a commented YAML file."""

from __future__ import annotations

import json
import re
from typing import Any

from sft_cli.starter.choose import Plan, Setting

_PLAIN = re.compile(r"[A-Za-z./~][\w./~+-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"}
_LISTS = ("datasets", "test_datasets")
_WIDTH = 34
_LAST_OF_FOUR_DIGITS = 0xFFFF

HEAD = """\
# Written by `sft init`. Each choice says why; what is not here has its default.
#     sft validate {file}      check it
#     sft preprocess {file}    read the data, and account for every row
#     sft inspect {file}       see which tokens are trained
#     sft train {file}
"""


def config_text(plan: Plan, file: str) -> str:
    """The file's text.

    Args:
        plan: what it says.
        file: its name, for the commands in its head.
    """
    lines = [HEAD.format(file=file)]
    for title, settings in plan.sections:
        lines.append(f"# {_comment(title)}")
        lines += [_lines(each) for each in settings]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _lines(setting: Setting) -> str:
    if setting.key in _LISTS:
        entries = "\n".join(_entry(each) for each in setting.value)
        return f"{setting.key}: # {_comment(setting.why)}\n{entries}"
    line = f"{setting.key}: {scalar(setting.value)}"
    return f"{line:<{_WIDTH}} # {_comment(setting.why)}" if setting.why else line


def _entry(values: dict[str, Any]) -> str:
    lines = [f"{key}: {scalar(value)}" for key, value in values.items()]
    return "  - " + "\n    ".join(lines)


def scalar(value: Any) -> str:
    """A value as YAML: plain where that is read back as it is, texts else in quotes, lists and objects as JSON."""
    if isinstance(value, float):
        return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 0.001 else f"{value:g}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """In double quotes, with YAML's escapes (YAML 1.2.2, section 5.7) for what a reader could not show."""
    shown = (f"\\{each}" if each in '"\\' else each if each.isprintable() else _escaped(each) for each in text)
    return f'"{"".join(shown)}"'


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= _LAST_OF_FOUR_DIGITS else f"\\U{number:08x}"


def _comment(text: str) -> str:
    """One line of characters that YAML takes: what stands in the data must not end a comment."""
    return "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
