"""A draft as a YAML file, in the order of our sections, with comments on what became of the old one."""

from __future__ import annotations

from typing import Any, cast

from sft_schema.config import Section, SftConfig
from sft_schema.foreign import SYSTEM_NAMES, System
from sft_schema.foreign.flow import flow, shown
from sft_schema.migrate.draft import Draft, Unsupported

_WIDTH = 100


def write(draft: Draft, system: System) -> str:
    """The whole new file."""
    head = [f"# Rewritten from a config for {SYSTEM_NAMES[system]}.", ""]
    blocks = [_section_lines(section, draft) for section in _sections()]
    body = [line for block in blocks if block for line in (*block, "")]
    return "\n".join([*head, *body, *_left_out(draft.unsupported)]).rstrip("\n") + "\n"


def settings_text(settings: dict[str, Any]) -> str:
    """Settings as YAML without comments, in the order of the sections."""
    return "".join(f"{line}\n" for key in SftConfig.model_fields if key in settings for line in _lines(key, settings))


def _sections() -> list[type[Section]]:
    return [base for base in reversed(SftConfig.__bases__) if issubclass(base, Section)]


def _section_lines(section: type[Section], draft: Draft) -> list[str]:
    lines: list[str] = []
    for key in section.model_fields:
        if key in draft.settings:
            first, *more = _lines(key, draft.settings)
            note = draft.notes.get(key)
            lines += [f"{first}  # {_one_line(note)}" if note else first, *more]
    title = (section.__doc__ or "").strip().split("\n")[0]
    return [f"# {title}", *lines] if lines else []


def _lines(key: str, settings: dict[str, Any]) -> list[str]:
    value = settings[key]
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in cast("list[Any]", value)):
        entries = cast("list[dict[str, Any]]", value)
        return [f"{key}:", *(line for entry in entries for line in _entry_lines(entry))]
    if isinstance(value, dict) and value and len(flow(value)) > _WIDTH:
        items = cast("dict[str, Any]", value).items()
        return [f"{key}:", *(f"  {flow(name)}: {flow(each)}" for name, each in items)]
    return [f"{key}: {flow(value)}"]


def _entry_lines(entry: dict[str, Any]) -> list[str]:
    lines = [f"{flow(name)}: {flow(each)}" for name, each in entry.items()] or ["{}"]
    return [f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])]


def _left_out(unsupported: list[Unsupported]) -> list[str]:
    if not unsupported:
        return []
    lines = ["# Not carried over:"]
    for each in unsupported:
        place = "" if each.line is None else f"  (line {each.line})"
        value = "" if each.value is None else f": {shown(each.key, each.value, _WIDTH)}"
        lines += ["#", f"# {_one_line(each.key)}{value}{place}"]
        lines += [f"#     {_one_line(each.reason)}", f"#     {_one_line(each.nearest)}"]
    return lines


def _one_line(text: str) -> str:
    """A text that cannot leave its comment: line ends and characters that YAML forbids are spelled out."""
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)
