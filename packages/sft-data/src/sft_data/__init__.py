"""Sources, formats, exact masks and packing for supervised fine-tuning, without torch.

A name is loaded, with pyarrow, pydantic and jinja2 behind it, when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sft_data.collate import collate, pack_row
    from sft_data.generation import GenerationPrompt, generation_prompts
    from sft_data.inspection import InspectedRow, inspect_rows
    from sft_data.pack import lost_labels, plan_packs
    from sft_data.peek import Peek, peek
    from sft_data.prepare import Prepared, prepare, prepare_share
    from sft_data.progress import Pace, Progress
    from sft_data.store import SampleStore
    from sft_data.tokenizer import TextTokenizer, load_tokenizer
    from sft_data.verify import verify_prepared
    from sft_data.vision import PictureProcessor, picture_batch

__all__ = [
    "GenerationPrompt",
    "InspectedRow",
    "Pace",
    "Peek",
    "PictureProcessor",
    "Prepared",
    "Progress",
    "SampleStore",
    "TextTokenizer",
    "collate",
    "generation_prompts",
    "inspect_rows",
    "load_tokenizer",
    "lost_labels",
    "pack_row",
    "peek",
    "picture_batch",
    "plan_packs",
    "prepare",
    "prepare_share",
    "verify_prepared",
]

_NAMES = {
    "collate": "collate pack_row",
    "generation": "GenerationPrompt generation_prompts",
    "inspection": "InspectedRow inspect_rows",
    "pack": "lost_labels plan_packs",
    "peek": "Peek peek",
    "prepare": "Prepared prepare prepare_share",
    "progress": "Pace Progress",
    "store": "SampleStore",
    "tokenizer": "TextTokenizer load_tokenizer",
    "verify": "verify_prepared",
    "vision": "PictureProcessor picture_batch",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`sft_data.prepare` and `sft_data.collate` are the functions, whatever order they are imported in.

    Python sets a module as an attribute of its package when it loads it; these two would hide their functions.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _MODULE_OF or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
