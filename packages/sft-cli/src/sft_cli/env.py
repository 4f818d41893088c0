"""The environment variables that this package reads; rich itself reads NO_COLOR, FORCE_COLOR and COLUMNS."""

from __future__ import annotations

import os
from collections.abc import Mapping


def in_ci() -> bool:
    """Whether a CI service runs this process: `CI` is set to something other than an empty text or `false`."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def variables() -> Mapping[str, str]:
    """All of them, for configs that are to be read with `--env`."""
    return os.environ
