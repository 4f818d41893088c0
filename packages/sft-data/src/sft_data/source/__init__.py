"""Source: a data set of the config to rows.

A name is loaded when it is first used: `sft_data.peek` reads a text file without pyarrow behind it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sft_data.source.content import fingerprint_source
    from sft_data.source.count import count_rows
    from sft_data.source.read import read_rows

__all__ = ["count_rows", "fingerprint_source", "read_rows"]

_MODULE_OF = {"count_rows": "count", "fingerprint_source": "content", "read_rows": "read"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found
