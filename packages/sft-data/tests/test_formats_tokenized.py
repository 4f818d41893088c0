"""Rows of tokens: what is cut off, what is refused, for any ids and padding."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_data.format import FORMATS
from sft_data.row import Row, RowError
from sft_schema import IGNORE_INDEX
from sft_schema.config import DatasetConfig
from sft_schema.record import RowOrigin, Tokens

IDS = st.lists(st.integers(0, 99), min_size=1, max_size=20)
PADDING = st.integers(0, 5)


def tokens(**values: Any) -> Tokens:
    made = FORMATS["tokenized"](Row(values, RowOrigin("m", 0, "m")), DatasetConfig(path="m", type="tokenized"))
    assert isinstance(made, Tokens)
    return made


@given(st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=20), PADDING, PADDING)
def test_padding_on_either_side_changes_nothing(marked: list[tuple[int, bool]], left: int, right: int) -> None:
    ids = [each for each, _ in marked]
    labels = [each if trained else IGNORE_INDEX for each, trained in marked]
    padded = tokens(
        input_ids=[0] * left + ids + [0] * right,
        labels=[IGNORE_INDEX] * left + labels + [IGNORE_INDEX] * right,
        attention_mask=[0] * left + [1] * len(ids) + [0] * right,
    )
    assert padded == tokens(input_ids=ids, labels=labels) == Tokens(tuple(ids), tuple(labels))


@given(IDS, st.data())
def test_a_label_that_is_another_token_is_refused(ids: list[int], data: st.DataObject) -> None:
    labels, at = list(ids), data.draw(st.integers(0, len(ids) - 1))
    labels[at] += data.draw(st.sampled_from([-1, 1]))
    with pytest.raises(RowError, match=f"at token {at} ") as caught:
        tokens(input_ids=ids, labels=labels)
    assert caught.value.reason == "bad_label"


def test_labels_that_are_shifted_are_called_so() -> None:
    with pytest.raises(RowError, match="must not be shifted"):
        tokens(input_ids=[5, 6, 7], labels=[6, 7, IGNORE_INDEX])


def test_an_id_beyond_what_samples_can_keep_is_refused() -> None:
    with pytest.raises(RowError, match="4294967301 is no id") as caught:  # 5 when cut to 32 bits
        tokens(input_ids=[5, 2**32 + 5], labels=[5, 2**32 + 5])
    assert caught.value.reason == "unknown_token"
