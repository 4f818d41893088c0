from __future__ import annotations

import numpy as np

from sft_cli.account import account_text, data_account
from sft_schema.record import Manifest, PackPlan, SplitCounts


def test_every_split_and_every_reason_is_in_the_account(manifest: Manifest) -> None:
    lines = {line.name: line.values for line in data_account(manifest)}
    assert lines == {
        "rows read": ("1,010", "10"),
        "samples kept": ("1,000", "10"),
        "dropped: <i>odd</i>": ("3", "0"),
        "dropped: too_long": ("7", "0"),
        "tokens": ("50,000", "500"),
        "trained tokens": ("12,500 (25.0%)", "100 (20.0%)"),
        "masked tokens": ("37,500 (75.0%)", "400 (80.0%)"),
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


def test_samples_that_packing_cuts_are_told(manifest: Manifest) -> None:
    pieces = np.array([[0, 0, 8], [0, 8, 9], [1, 0, 7], [1, 7, 8]])
    plan = PackPlan(pieces[:, 0], np.array([0, 1, 3, 4]), 17, 8, pieces)
    told = account_text(manifest, plan, 1).splitlines()[-1]
    assert told == "2 samples cut between two rows in the first epoch, 1 trained tokens lost by it"
    assert "at most as many trained tokens" in account_text(manifest, plan)


def test_each_data_set_of_several_has_its_line(manifest: Manifest) -> None:
    parts = {
        "a.jsonl": SplitCounts(rows_in=12, rows_out=10, dropped={"duplicate": 2}, tokens=90, trained_tokens=45),
        "b.jsonl": SplitCounts(rows_in=5, rows_out=5, tokens=60, repeated=3, repeated_tokens=20),
    }
    train = SplitCounts(
        rows_in=17,
        rows_out=15,
        dropped={"duplicate": 2},
        dropped_tokens={"duplicate": 8},
        tokens=150,
        trained_tokens=45,
        repeated=3,
        repeated_tokens=20,
        datasets=parts,
    )
    mixed = manifest.model_copy(update={"splits": {"train": train, "eval": SplitCounts(overlap=2)}})
    lines = account_text(mixed).splitlines()
    assert lines[-3].split() == ["rows", "read", "kept", "dropped", "repeated", "tokens", "trained"]
    assert lines[-2].split() == ["train:", "a.jsonl", "12", "10", "2", "0", "90", "45", "(50.0%)"]
    assert lines[-1].split() == ["train:", "b.jsonl", "5", "5", "0", "3", "60", "0", "(0.0%)"]
    assert "samples more than rows" not in "".join(lines)
    expanded = manifest.model_copy(update={"splits": {"train": SplitCounts(rows_in=1, rows_out=4, expanded=3)}})
    assert ("samples more than rows", ("3",)) in [(line.name, line.values) for line in data_account(expanded)]
    for wanted in ("tokens dropped: duplicate", "samples repeated", "held-out samples trained on too"):
        assert any(line.startswith(wanted) for line in lines)
