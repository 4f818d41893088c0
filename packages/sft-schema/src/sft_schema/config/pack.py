"""How long a row is and how samples share one."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class PackingSection(Section):
    """Sequence length and packing."""

    sequence_len: int = setting("Longest row, in tokens.", 2048, ge=2)
    sample_packing: bool = setting("Put several samples into one row, kept apart in attention.", False)
    packing_strategy: Literal["bfd", "bfd_split", "ffd", "spfhp", "sequential", "wrapped"] = setting(
        "Which samples share a row: best-fit or first-fit decreasing, shortest pack first, neighbours, or all samples "
        "joined and cut where a row is full; `bfd_split` is `bfd` for samples that `excess_length_strategy` splits.",
        "bfd",
    )
    max_samples_per_pack: int | None = setting("Most samples in a row; without it as many as fit.", None, ge=2)
    packing_balance: Literal["none", "attention", "steps"] = setting(
        "Which process computes which rows of a step: as they come, or so that their costs of attention (squared "
        "lengths) are even; `steps` also exchanges rows between steps, so that those of a step cost alike.",
        "none",
    )
    excess_length_strategy: Literal["raise", "drop", "truncate", "truncate_history", "split"] = setting(
        "What happens to a sample longer than `sequence_len`: an error; it goes; its end goes; its oldest exchanges "
        "go; it becomes several samples. What is lost is counted.",
        "raise",
    )
    seed: int = setting("Seed of every random choice: order, packing, initial weights, dropout.", 42, ge=0)
