"""Libraries that may be installed: found without importing them, imported when they are first used.

The package flash-attn brings a ``flash_attn.cute`` of its own that may hide the one of flash-attn-4, and an import may
fail for want of a CUDA library, so a library counts as installed where its function can be imported.
"""

import importlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

__all__ = ["function"]


@cache
def function(module: str, name: str) -> Callable[..., Any] | None:
    """A function of a library, or None where the library is not installed or does not have it."""
    if find_spec(module.partition(".")[0]) is None:
        return None
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, OSError):
        return None
