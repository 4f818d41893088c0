"""Keys of LLaMA-Factory's SFT files: its own and those of transformers.

Source: LLaMA-Factory's data, model, fine-tuning, generation and training arguments, 0.9 (August 2026).
"""

from __future__ import annotations

from sft_schema.foreign.answer import table
from sft_schema.foreign.llamafactory.data import DATA
from sft_schema.foreign.llamafactory.method import METHOD, MODEL
from sft_schema.foreign.llamafactory.run import RUN
from sft_schema.foreign.transformers import TRANSFORMERS

LLAMAFACTORY = TRANSFORMERS | table("LLaMA-Factory", *DATA, *METHOD, *MODEL, *RUN)

__all__ = ["LLAMAFACTORY"]
