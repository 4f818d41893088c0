"""Configs of other systems: what each of their keys means here, as tables of rows.

`axolotl`, `trl`, `transformers` and `llamafactory` hold the rows, `values` the values of our own keys that only the
others know. `settle` uses them when a file is loaded, `sft_schema.migrate` when a whole file is rewritten.
"""

from sft_schema.foreign.answer import Accepted, Answer, Key, Refusal, Rewrite
from sft_schema.foreign.nearest import SUGGESTIONS, nearest
from sft_schema.foreign.scopes import ANY_SYSTEM, ENTRIES, INNER_SECTIONS, SYSTEM_NAMES, SYSTEMS, Scope, System
from sft_schema.foreign.settle import Settled, settle

__all__ = [
    "ANY_SYSTEM",
    "ENTRIES",
    "INNER_SECTIONS",
    "SUGGESTIONS",
    "SYSTEMS",
    "SYSTEM_NAMES",
    "Accepted",
    "Answer",
    "Key",
    "Refusal",
    "Rewrite",
    "Scope",
    "Settled",
    "System",
    "nearest",
    "settle",
]
