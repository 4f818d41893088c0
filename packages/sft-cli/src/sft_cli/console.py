"""The terminal: results go to standard output, everything said on the way to standard error."""

from __future__ import annotations

import io
import sys
from typing import Any, cast

from rich.console import Console

from sft_cli.env import in_ci


def results() -> Console:
    """Standard output. Characters that its encoding lacks are escaped instead of ending the program."""
    stream: object = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        cast("io.TextIOWrapper[Any]", stream).reconfigure(errors="backslashreplace")
    return Console(highlight=False, markup=False, emoji=False)


def messages() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def is_live(console: Console) -> bool:
    """Whether bars may move on it: a terminal, and nobody's log file."""
    return console.is_terminal and not in_ci()
