"""Writes docs/config.md from the config's own definitions.

uv run python tools/config_page.py          write the page
uv run python tools/config_page.py --check  fail when the page is not what would be written
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic_core import PydanticUndefined

from sft_schema.config import (
    BitsAndBytesSettings,
    CheckpointingKwargs,
    DatasetConfig,
    FsdpSettings,
    LrGroup,
    Section,
    SftConfig,
    SpecialTokens,
)

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
HEAD = """# Config

Every setting, from the definitions in `sft_schema.config` (this page is generated: `tools/config_page.py`).
A key that is not here is refused, with the nearest one. In code the settings stand in the sections below.
"""


def type_text(annotation: Any) -> str:
    """A type as a user writes it: `text`, `number`, `one of a, b`."""
    words = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        type(None): "nothing",
        Any: "anything",
    }
    if annotation in words:
        return words[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return f"list of {type_text(inner[0])}"
    if origin is Annotated:
        return type_text(inner[0]) + bounds_text([bound for field in inner[1:] for bound in field.metadata])
    if origin is dict:
        return f"mapping of {type_text(inner[0])} to {type_text(inner[1])}"
    if inner and all(isinstance(each, str | int) for each in inner):
        return " or ".join(f"`{each}`" for each in inner)
    if inner:
        return " or ".join(type_text(each) for each in inner if each is not type(None))
    return f"[{annotation.__name__}](#{annotation.__name__.lower()})"


def default_text(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, Section):
        return ""
    if default is None or default in ((), {}):
        return ""
    if isinstance(default, tuple):
        return f"`[{', '.join(default)}]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def bounds_text(metadata: list[Any]) -> str:
    signs = {"ge": "at least", "gt": "over", "le": "at most", "lt": "below"}
    found = [
        f"{word} {getattr(each, sign):g}" for each in metadata for sign, word in signs.items() if hasattr(each, sign)
    ]
    return f", {' and '.join(found)}" if found else ""


def section_text(section: type[Section]) -> str:
    lines = [f"## {section.__name__}", "", (section.__doc__ or "").strip().split("\n")[0], ""]
    lines += ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        kind = (type_text(field.annotation) + bounds_text(field.metadata)).replace("|", "\\|")
        default = default_text(field.get_default(call_default_factory=True))
        lines.append(f"| `{name}` | {kind} | {default} | {field.description} |")
    return "\n".join([*lines, ""])


def page_text() -> str:
    sections = [each for each in SftConfig.__bases__[::-1] if issubclass(each, Section)]
    inner = (DatasetConfig, LrGroup, CheckpointingKwargs, SpecialTokens, BitsAndBytesSettings, FsdpSettings)
    return "\n".join([HEAD, *(section_text(each) for each in (*sections, *inner))])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        current = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
        if current != page_text():
            print(f"{PAGE.name} is not up to date; fix: uv run python tools/config_page.py")
            return 1
        return 0
    PAGE.write_text(page_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
