"""The environment variables that this package reads; rich itself reads NO_COLOR, FORCE_COLOR and COLUMNS."""

from __future__ import annotations

import os


def in_ci() -> bool:
    """Whether a CI service runs this process: `CI` is set to something other than an empty text or `false`."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")
