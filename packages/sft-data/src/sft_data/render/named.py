"""The chat templates that come with this package, one .jinja file each in `templates`.

Each is written from the model family's documented prompt format. The first lines of a file name the format, and the
control tokens that a tokenizer must have as single tokens for it.
"""

from __future__ import annotations

import re
from importlib import resources

_CONTROL = re.compile(r"\{#-\s*control tokens:(.*?)-#\}")


def named_template(name: str) -> str:
    """The template's text."""
    return (resources.files("sft_data.render") / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def control_tokens(text: str) -> tuple[str, ...]:
    """The control tokens that a named template needs; empty for any other template."""
    found = _CONTROL.search(text)
    return tuple(found.group(1).split()) if found else ()
