"""Rows that were tokenised and masked before."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, cast

from sft_data.format.training import read_weight
from sft_data.row import Row, RowError
from sft_schema import IGNORE_INDEX
from sft_schema.config import DatasetConfig
from sft_schema.record import Tokens

_LARGEST_ID = 2**31 - 1
"""Samples keep ids as int32."""


def tokenized(row: Row, cfg: DatasetConfig) -> Tokens:
    """The ids of `input_ids` with their `labels`, without the padding that `attention_mask` marks.

    Labels are not shifted: each is its own token's id, or -100 where that token is not trained. `weights`, where the
    row has it, says what each token counts in the loss; one of 0 is not trained.

    Raises:
        RowError: `missing_column`, `wrong_type`, `unknown_token`, `bad_label`, `bad_attention_mask` or
            `bad_training_flag`.
    """
    ids, labels = _whole_numbers(row, "input_ids"), _whole_numbers(row, "labels")
    wrong = next((each for each in ids if not 0 <= each <= _LARGEST_ID), None)
    if wrong is not None:
        raise RowError("unknown_token", f"{wrong} is no id of a token")
    if len(labels) != len(ids):
        raise RowError("bad_label", f"{len(labels)} labels for {len(ids)} input_ids")
    weights = _weights(row, labels)
    if row.values.get("attention_mask") is not None:
        window = _real_tokens(_whole_numbers(row, "attention_mask"), len(ids))
        if any(label != IGNORE_INDEX for label in (*labels[: window.start], *labels[window.stop :])):
            raise RowError("bad_attention_mask", "a token that 'attention_mask' leaves out has a label")
        ids, labels, weights = ids[window], labels[window], weights[window]
    _require_own_labels(ids, labels)
    labels = [label if weight else IGNORE_INDEX for label, weight in zip_longest(labels, weights, fillvalue=1)]
    return Tokens(input_ids=tuple(ids), labels=tuple(labels), weights=tuple(weights))


def _weights(row: Row, labels: list[int]) -> list[float]:
    """One weight a token, 0 for those without a label; empty when the row says nothing."""
    given: Any = row.values.get("weights")
    if given is None:
        return []
    if not isinstance(given, list) or len(cast("list[Any]", given)) != len(labels):
        raise RowError("wrong_type", f"'weights' is not a list of {len(labels)} numbers, one for each of input_ids")
    numbers = [read_weight(each, f"weights[{index}]") for index, each in enumerate(cast("list[Any]", given))]
    return [0.0 if label == IGNORE_INDEX else number for label, number in zip(labels, numbers, strict=True)]


def _whole_numbers(row: Row, name: str) -> list[int]:
    value: Any = row.values.get(name)
    if value is None:
        raise RowError("missing_column", f"no {name!r}; the row has {sorted(row.values)}")
    if not isinstance(value, list) or not value:
        raise RowError("wrong_type", f"{name!r} is not a list with whole numbers in it")
    numbers = cast("list[Any]", value)
    for index, each in enumerate(numbers):
        if type(each) is not int:  # True is an int, and no token
            raise RowError("wrong_type", f"{name}[{index}] is {each!r}, not a whole number")
    return numbers


def _real_tokens(mask: list[int], count: int) -> slice:
    """The one run of ones; what stands before and after it is padding."""
    start = mask.index(1) if 1 in mask else 0
    stop = start + mask.count(1)
    if stop == start or len(mask) != count or mask != [0] * start + [1] * (stop - start) + [0] * (count - stop):
        detail = f"'attention_mask' is not a row of ones, with zeros at most before and after it, for {count} input_ids"
        raise RowError("bad_attention_mask", detail)
    return slice(start, stop)


def _require_own_labels(ids: list[int], labels: list[int]) -> None:
    wrong = next((i for i, each in enumerate(labels) if each not in (ids[i], IGNORE_INDEX)), None)
    if wrong is not None:
        detail = f"label {labels[wrong]} at token {wrong} is neither its id {ids[wrong]} nor {IGNORE_INDEX}"
        shifted = all(label in (token, IGNORE_INDEX) for label, token in zip(labels, ids[1:], strict=False))
        raise RowError("bad_label", f"{detail}; labels must not be shifted" if shifted else detail)
