"""How data sets are put together: what repeats, what overlaps, how much may be lost, in which shares."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class MixingSection(Section):
    """Duplicates, overlap of training and evaluation, the budget for lost rows, and shares of data sets."""

    dataset_exact_deduplication: bool = setting(
        "Drop samples whose tokens and labels are those of an earlier sample.", False
    )
    dataset_near_deduplication: float | None = setting(
        "Drop rows that share at least this part of their five-word sequences with an earlier row (MinHash).",
        None,
        ge=0.5,
        le=1,
    )
    eval_overlap: Literal["drop", "error", "keep"] = setting(
        "Held-out samples that are trained on too: drop them, stop, or keep and count them.", "drop"
    )
    max_dropped_fraction: float = setting(
        "Stop when more than this part of a data set's rows is bad or too long.", 1.0, ge=0, le=1
    )
    mix_strategy: Literal["concat", "interleave_under", "interleave_over"] = setting(
        "All rows of all data sets once, or shares by `weight`: until the first data set is used up (under), or "
        "until all are used at least once, repeating the others (over).",
        "concat",
    )
    mix_by: Literal["rows", "tokens"] = setting("What the shares of `mix_strategy` count.", "rows")
