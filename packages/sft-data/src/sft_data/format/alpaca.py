"""Alpaca rows: instruction, optional input, output.

The prompt texts are those of Stanford Alpaca (https://github.com/tatsu-lab/stanford_alpaca).
"""

from __future__ import annotations

from sft_data.format.column import text_column
from sft_data.row import Row
from sft_schema.config import DatasetConfig
from sft_schema.record import Segment, Segments

_INTRO = "Below is an instruction that describes a task"
_INTRO_INPUT = ", paired with an input that provides further context"
_REQUEST = ". Write a response that appropriately completes the request.\n\n"


def alpaca(row: Row, cfg: DatasetConfig) -> Segments:
    """An untrained prompt and a trained answer; the end token follows in rendering."""
    instruction, given = text_column(row, "instruction"), text_column(row, "input", required=False)
    task = f"### Instruction:\n{instruction}\n\n"
    if given:
        prompt = f"{_INTRO}{_INTRO_INPUT}{_REQUEST}{task}### Input:\n{given}\n\n### Response:\n"
    else:
        prompt = f"{_INTRO}{_REQUEST}{task}### Response:\n"
    answer = text_column(row, "output")
    return Segments(
        segments=(
            Segment(text=prompt, train=False, role="user", field="instruction"),
            Segment(text=answer, train=True, role="assistant", field="output"),
        )
    )
