"""The chat page: one HTML file with its own style and script, and the policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def chat_page(name: str, secret: str, *, remembers: bool) -> tuple[str, str]:
    """The page and its Content-Security-Policy: this style and this script, and questions to where it came from.

    Args:
        name: of the model, visible characters only.
        secret: what a question has to carry.
        remembers: whether earlier turns are sent along.
    """
    style, script = _source("style.css") + _source("chat.css"), _source("chat.js")
    page = (
        _environment()
        .get_template("chat.html.jinja")
        .render(name=name, secret=secret, remembers=remembers, style=style, script=script)
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


@cache
def _environment() -> Environment:
    loader = PackageLoader("sft_cli", "html/templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
