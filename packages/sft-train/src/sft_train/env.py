"""Environment variables: what libraries that a run uses are told through them, and what launchers say in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables, and puts back what was there before."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def in_process_group() -> bool:
    """Whether a launcher has started this process as one of several, or as the only one of its kind."""
    return "RANK" in os.environ or "LOCAL_RANK" in os.environ


def error_file() -> str | None:
    """Where torch wants the error of this process, if `sft` itself has launched it and will show it."""
    return os.environ.get("TORCHELASTIC_ERROR_FILE") if "SFT_LAUNCHED" in os.environ else None
