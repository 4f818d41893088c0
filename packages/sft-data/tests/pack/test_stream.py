"""Packing of a stream: every sample once, no more held than the window, the loss told."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_data.pack import pack_stream
from sft_schema import ContractError

LENGTHS = st.lists(st.integers(1, 32), max_size=80)


@given(LENGTHS, st.integers(1, 20), st.none() | st.integers(1, 4))
def test_every_sample_comes_out_once_in_a_row_that_fits(lengths: list[int], window: int, most: int | None) -> None:
    stream = pack_stream(iter(lengths), 32, window, max_samples_per_pack=most)
    rows = [row.tolist() for row in stream]
    assert sorted(sample for row in rows for sample in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[sample] for sample in row) <= 32 for row in rows)
    assert all(len(row) <= (most or 99) for row in rows)
    assert (stream.rows, stream.samples, stream.tokens) == (len(rows), len(lengths), sum(lengths))
    assert stream.lost == len(rows) - -(-sum(lengths) // 32) >= 0
    assert [row.tolist() for row in pack_stream(lengths, 32, window, max_samples_per_pack=most)] == rows


def test_no_more_samples_are_held_than_the_window_takes() -> None:
    lengths = np.random.default_rng(0).integers(1, 33, 2000).tolist()
    read = 0

    def coming() -> Iterator[int]:
        nonlocal read
        for length in lengths:
            read += 1
            yield length

    stream = pack_stream(coming(), 32, 50)
    for _ in stream:
        assert read - stream.samples <= 50


def test_a_wider_window_loses_less() -> None:
    lengths = np.random.default_rng(0).lognormal(5.5, 0.8, 20_000).astype(int).clip(8, 2048).tolist()
    found: list[float] = []
    for window in (10, 100, 5000):
        stream = pack_stream(lengths, 2048, window)
        assert sum(1 for _ in stream) == stream.rows
        found.append(stream.efficiency)
    assert found == sorted(found)
    assert found[-1] > 0.995


@pytest.mark.parametrize("length", [0, -1, 33])
def test_a_sample_that_fits_no_row_is_named(length: int) -> None:
    with pytest.raises(ContractError, match=f"sample 1 of {length} tokens does not fit rows of 32"):
        list(pack_stream([3, length], 32))


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ContractError, match="window 0 and capacity 32 must be 1 or more"):
        pack_stream([3], 32, 0)
