"""How long a row is and how samples share one."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class PackingSection(Section):
    """Sequence length and packing."""

    sequence_len: int = setting("Longest row, in tokens.", 2048, ge=2)
    sample_packing: bool = setting("Put several samples into one row, kept apart in attention.", False)
    excess_length_strategy: Literal["raise", "drop", "truncate", "truncate_history", "split"] = setting(
        "What happens to a sample longer than `sequence_len`: an error; it goes; its end goes; its oldest exchanges "
        "go; it becomes several samples. What is lost is counted.",
        "raise",
    )
    seed: int = setting("Seed of every random choice: order, packing, initial weights, dropout.", 42, ge=0)
