"""What a command tells the top handler about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _run_again() -> str:
    return "Nothing half-written is kept; run the same command again."


@dataclass(slots=True)
class Invocation:
    """One call of `sft`, reachable from every command through click's context.

    Attributes:
        debug: whether errors are shown with their traceback.
        env: whether `${NAME}` in the config stands for an environment variable.
        exit_code: code of a command that ended by itself.
        when_stopped: gives the sentence that is printed after Ctrl-C.
    """

    debug: bool = False
    env: bool = False
    exit_code: int = 0
    when_stopped: Callable[[], str] = _run_again
