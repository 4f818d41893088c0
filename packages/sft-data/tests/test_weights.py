"""What a row says about the weight of its messages, parts, spans, segments and tokens reaches the packed rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_data import SampleStore, collate, inspect_rows, pack_row, prepare
from sft_data.format import FORMATS
from sft_data.row import Row, RowError
from sft_data.store import ShardRow, shard_name, write_index, write_shard
from sft_schema import IGNORE_INDEX
from sft_schema.check import check_batch, check_row, check_sample
from sft_schema.config import DatasetConfig
from sft_schema.record import RowOrigin, TokenizedSample, Tokens

ASK, SAY = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "first answer"}
AGAIN, LAST = {"role": "user", "content": "world"}, {"role": "assistant", "content": "second answer"}


def weighed(workspace: Any, row: Any, top: dict[str, Any] | None = None, **settings: Any) -> list[tuple[str, float]]:
    """Runs of text with the same weight, those of weight 0 left out; the store and the view say the same."""
    file = workspace.rows("a.jsonl", [row])
    cfg = workspace.config(datasets=[{"path": str(file), **settings}], **(top or {}))
    (shown,) = inspect_rows(cfg)
    (sample,) = prepare(cfg).train
    check_sample(sample)
    stored = (sample.labels != IGNORE_INDEX) * 1.0 if sample.weights is None else sample.weights
    assert [token.weight for token in shown.tokens][1:] == stored.tolist()[1:]
    runs: list[tuple[str, float]] = []
    for token in shown.tokens:
        if runs and runs[-1][1] == token.weight:
            runs[-1] = (runs[-1][0] + token.text, token.weight)
        else:
            runs.append((token.text, token.weight))
    return [run for run in runs if run[1]]


def test_a_message_has_a_weight_and_its_stop_token_too(workspace: Any) -> None:
    row = {"messages": [ASK, {**SAY, "weight": 0.25}, AGAIN, LAST]}
    assert weighed(workspace, row) == [("first answer<|im_end|>", 0.25), ("second answer<|im_end|>", 1.0)]
    row = {"messages": [{**ASK, "weight": 2}, SAY]}
    assert weighed(workspace, row) == [("hello<|im_end|>", 2.0), ("first answer<|im_end|>", 1.0)]


def test_what_several_keys_say_is_multiplied(workspace: Any) -> None:
    row = {"messages": [ASK, {**SAY, "train": False, "weight": 0.5}, AGAIN, {**LAST, "training": True, "weight": 0.5}]}
    assert weighed(workspace, row) == [("second answer<|im_end|>", 0.5)]
    row = {"messages": [ASK, {**SAY, "keep": 0.5, "weight": 0.5}]}
    assert weighed(workspace, row, message_field_training="keep") == [("first answer<|im_end|>", 0.25)]


def test_spans_and_parts_have_weights_within_that_of_their_message(workspace: Any) -> None:
    spans = [{"begin_offset": 0, "end_offset": 4, "weight": 4}, {"begin_offset": 5, "end_offset": 11, "train": True}]
    row = {"messages": [ASK, {**SAY, "spans": spans, "weight": 0.5}]}
    found = weighed(workspace, row, message_field_training_detail="spans")
    assert found == [("first", 2.0), (" answer<|im_end|>", 0.5)]
    parts = [{"type": "text", "text": "first"}, {"type": "text", "text": " answer", "weight": 3}]
    row = {"messages": [ASK, {"role": "assistant", "content": parts}]}
    assert weighed(workspace, row) == [("first", 1.0), (" answer", 3.0), ("<|im_end|>", 1.0)]


def test_weights_stay_with_their_messages_when_others_go(workspace: Any) -> None:
    row = {"messages": [ASK, {**SAY, "weight": 0.25}, AGAIN, {**LAST, "weight": 0.75}]}
    top = {"sequence_len": 20, "excess_length_strategy": "truncate_history"}
    whole = weighed(workspace, row)
    assert weighed(workspace, row, {**top, "sequence_len": 400}) == whole
    assert weighed(workspace, row, top) == [("second answer<|im_end|>", 0.75)]


def test_with_train_on_inputs_the_rest_counts_one(workspace: Any) -> None:
    row = {"messages": [{**ASK, "weight": 0.5}, SAY]}
    found = weighed(workspace, row, {"train_on_inputs": True})
    assert [each for each in found if each[1] == 0.5] == [("user", 0.5), ("hello", 0.5)]
    assert "".join(text for text, _ in found).endswith("first answer<|im_end|>\n")


def test_segments_and_tokens_have_weights(workspace: Any) -> None:
    pieces = [{"label": False, "text": "hello"}, {"label": True, "text": " world", "weight": 0.5}]
    row = {"segments": [*pieces, {"label": True, "text": "second", "weight": 0}, {"label": True, "text": " answer"}]}
    assert weighed(workspace, row, type="input_output") == [(" world", 0.5), (" answer", 1.0)]
    ids = {"input_ids": [5, 6, 7, 8], "labels": [-100, 6, 7, 8], "weights": [3, 0.5, 0, 2]}
    file = workspace.rows("b.jsonl", [ids])
    (sample,) = prepare(workspace.config(datasets=[{"path": str(file), "type": "tokenized"}])).train
    assert sample.labels.tolist() == [-100, 6, -100, 8]
    assert sample.weights is not None
    assert sample.weights.tolist() == [0, 0.5, 0, 2]


@pytest.mark.parametrize("given_weights", ["x", [1.0], [1, 2, "x"], [1, 2, -1], [1, 2, float("inf")]])
def test_weights_of_tokens_that_cannot_be_are_refused(given_weights: Any) -> None:
    values = {"input_ids": [5, 6, 7], "labels": [5, 6, 7], "weights": given_weights}
    with pytest.raises(RowError) as caught:
        FORMATS["tokenized"](Row(values, RowOrigin("m", 0, "m")), DatasetConfig(path="m", type="tokenized"))
    assert caught.value.reason in ("wrong_type", "bad_training_flag")


WEIGHTS = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))


@given(st.lists(st.tuples(st.integers(0, 99), st.booleans(), WEIGHTS), min_size=1, max_size=20), st.integers(0, 3))
def test_padding_takes_nothing_of_the_weights(marked: list[tuple[int, bool, float]], pad: int) -> None:
    ids = [each for each, _, _ in marked]
    labels = [each if trained else IGNORE_INDEX for each, trained, _ in marked]
    values = {
        "input_ids": [0] * pad + ids,
        "labels": [IGNORE_INDEX] * pad + labels,
        "weights": [1.0] * pad + [weight for _, _, weight in marked],
        "attention_mask": [0] * pad + [1] * len(ids),
    }
    made = FORMATS["tokenized"](Row(values, RowOrigin("m", 0, "m")), DatasetConfig(path="m", type="tokenized"))
    assert isinstance(made, Tokens)
    wanted = [(w if trained else 0.0) for _, trained, w in marked]
    assert list(made.weights) == wanted
    assert [label != IGNORE_INDEX for label in made.labels] == [weight > 0 for weight in wanted]


@given(st.lists(st.tuples(st.integers(2, 9), st.booleans()), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_rows_and_batches_hold_the_weights_of_their_samples(
    tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[int, bool]], seed: int
) -> None:
    random = np.random.default_rng(seed)
    made: list[TokenizedSample] = []
    for index, (length, has_weights) in enumerate(samples):
        ids = random.integers(0, 99, length).astype(np.int32)
        labels = np.where(random.random(length) < 0.6, ids, IGNORE_INDEX).astype(np.int32)
        labels[-1] = ids[-1]
        weights = (labels != IGNORE_INDEX) * random.uniform(0.1, 2, length).astype(np.float32)
        made.append(TokenizedSample(ids, labels, RowOrigin("d", index, str(index)), weights if has_weights else None))
    folder = tmp_path_factory.mktemp("store")
    write_shard(folder, 0, [ShardRow(each, len(each.input_ids), 0, b"0" * 16, b"0" * 16, None) for each in made], {})
    numbers = np.arange(len(made))
    columns = {"sample": numbers, "length": numbers, "trained": numbers}
    write_index(folder / "train.arrow", columns, [(shard_name(0), len(made))])
    store = SampleStore(folder / "train.arrow")
    for given_one, read in zip(made, store, strict=True):
        check_sample(read)
        assert (given_one.weights is None) == (read.weights is None)
    rows = [pack_row(store, np.array([index], dtype=np.int64)) for index in range(len(made))]
    batch = collate(rows)
    for row in rows:
        check_row(row)
    check_batch(batch)
    assert (batch.weights is None) == (not any(has for _, has in samples))
    if batch.weights is not None:
        ones = [(each.labels != IGNORE_INDEX) * 1.0 if each.weights is None else each.weights for each in made]
        for each in ones:
            each[0] = 0
        assert batch.weights[0].tolist() == np.concatenate(ones).tolist()
