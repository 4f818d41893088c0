from __future__ import annotations

import numpy as np

from sft_cli.account import account_text, data_account
from sft_schema.record import Manifest, PackPlan


def test_every_split_and_every_reason_is_in_the_account(manifest: Manifest) -> None:
    lines = {line.name: line.values for line in data_account(manifest)}
    assert lines == {
        "rows read": ("1,010", "10"),
        "samples kept": ("1,000", "10"),
        "dropped: <i>odd</i>": ("3", "0"),
        "dropped: too_long": ("7", "0"),
        "tokens": ("50,000", "500"),
        "trained tokens": ("12,500 (25.0%)", "100 (20.0%)"),
        "longest sample, tokens": ("512", "80"),
        "samples cut": ("2", "0"),
        "tokens cut off": ("31", "0"),
    }


def test_the_table_is_aligned_and_ends_with_the_packing(manifest: Manifest) -> None:
    plan = PackPlan(np.arange(1000), np.arange(0, 1001, 10), 50_000, 512)
    *table, packing = account_text(manifest, plan).splitlines()
    assert len({len(line) for line in table}) == 1
    assert table[0].split() == ["train", "eval"]
    assert packing == "100 rows of up to 512 tokens, 97.7% full, 10.0 samples a row"
