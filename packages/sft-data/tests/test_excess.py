"""Samples longer than a row, and what each `excess_length_strategy` makes of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_data import inspect_rows, prepare
from sft_data.excess import STRATEGIES
from sft_schema import IGNORE_INDEX, DataError
from sft_schema.check import check_manifest, check_sample

LIMIT = 96
SYSTEM = ("system", "numbers and apples")


def exchange(number: int, words: int = 3) -> list[tuple[str, str]]:
    return [("user", f"question {number} " + "long " * words), ("assistant", f"answer {number} " + "hello " * words)]


def ids_of(sample: Any) -> list[int]:
    return sample.input_ids.tolist()


def text_of(prepared: Any, sample: Any) -> str:
    return prepared.tokenizer.backend.decode(ids_of(sample), skip_special_tokens=False)


chats = st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 40), min_size=1, max_size=8)), min_size=1, max_size=6)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(drawn=chats)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_and_tokens_add_up_and_every_sample_fits(strategy: str, workspace: Any, drawn: Any) -> None:
    rows = [
        [SYSTEM] * system + [turn for number, words in enumerate(lengths) for turn in exchange(number, words)]
        for system, lengths in drawn
    ]
    file = workspace.chats("a.jsonl", [("user", "hi"), ("assistant", "hello")], *rows)
    whole = prepare(workspace.config(file, sequence_len=1 << 16))
    prepared = prepare(workspace.config(file, sequence_len=LIMIT, excess_length_strategy=strategy))
    check_manifest(prepared.manifest)
    counts = prepared.manifest.splits["train"]
    assert counts.tokens_in == whole.train.lengths.sum()
    assert counts.rows_in == len(rows) + 1
    assert prepared.train.lengths.max() <= LIMIT
    assert (prepared.train.trained > 0).all()
    for sample in prepared.train:
        check_sample(sample)
    bad = (prepared.folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(bad) == sum(counts.dropped.values())


def test_split_keeps_every_token_in_order(workspace: Any) -> None:
    file = workspace.rows("a.jsonl", [{"text": "one two three four five six seven " * 30}])
    data = [{"path": str(file), "type": "completion"}]
    (whole,) = prepare(workspace.config(datasets=data)).train
    prepared = prepare(workspace.config(datasets=data, sequence_len=LIMIT, excess_length_strategy="split"))
    assert np.concatenate([sample.input_ids for sample in prepared.train]).tolist() == ids_of(whole)
    counts = prepared.manifest.splits["train"]
    assert (counts.rows_in, counts.rows_out, counts.expanded) == (1, len(prepared.train), len(prepared.train) - 1)
    assert (counts.cut_rows, counts.cut_tokens) == (0, 0)
    places = [sample.origin.place for sample in prepared.train]
    assert places[0].endswith(f"a.jsonl:1 tokens 0-{LIMIT - 1}")
    assert len(set(places)) == len(places)


def test_pieces_of_a_split_conversation_that_train_nothing_are_cut(workspace: Any) -> None:
    file = workspace.chats("a.jsonl", [("user", "question " * 200), ("assistant", "answer")])
    prepared = prepare(workspace.config(file, sequence_len=LIMIT, excess_length_strategy="split"))
    (sample,) = prepared.train
    counts = prepared.manifest.splits["train"]
    assert (counts.cut_rows, counts.cut_tokens) == (1, counts.tokens_in - len(sample.input_ids))
    assert "answer<|im_end|>" in text_of(prepared, sample)


def test_history_goes_and_what_stays_is_what_the_shorter_conversation_gives(workspace: Any) -> None:
    turns = [turn for number in range(20) for turn in exchange(number)]
    file = workspace.chats("a.jsonl", [SYSTEM, *turns])
    prepared = prepare(workspace.config(file, sequence_len=LIMIT, excess_length_strategy="truncate_history"))
    (sample,) = prepared.train
    kept = [int(number) for number in re.findall(r"question (\d+)", text_of(prepared, sample))]
    assert kept
    assert kept == list(range(20 - len(kept), 20))
    longer = [workspace.chats("b.jsonl", [SYSTEM, *turns[-2 * count :]]) for count in (len(kept) + 1,)]
    assert prepare(workspace.config(*longer)).train.lengths[0] > LIMIT  # one exchange more would not fit
    shorter = workspace.chats("c.jsonl", [SYSTEM, *turns[-2 * len(kept) :]])
    (alone,) = prepare(workspace.config(shorter)).train
    assert ids_of(sample) == ids_of(alone)
    assert sample.labels.tolist() == alone.labels.tolist()


def test_tool_results_go_with_their_exchange_and_flags_stay_with_their_messages(workspace: Any) -> None:
    def said(role: str, content: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "content": content, **more}

    old = [said("user", "a " * 30), said("assistant", "call"), said("tool", "result " * 30), said("assistant", "b")]
    new = [said("user", "q"), said("assistant", "no", train=False), said("tool", "r"), said("assistant", "last")]
    file = workspace.rows("a.jsonl", [{"messages": [*old, *new]}])
    prepared = prepare(workspace.config(file, sequence_len=LIMIT, excess_length_strategy="truncate_history"))
    (sample,) = prepared.train
    text = text_of(prepared, sample)
    assert text.startswith("<|im_start|>user\nq<|im_end|>")
    trained = [token for token, label in zip(ids_of(sample), sample.labels, strict=True) if label != IGNORE_INDEX]
    assert prepared.tokenizer.backend.decode(trained, skip_special_tokens=False) == "last<|im_end|>"


def test_a_last_exchange_that_is_too_long_is_dropped(workspace: Any) -> None:
    file = workspace.chats("a.jsonl", exchange(1), [*exchange(1), *exchange(2, 100)])
    prepared = prepare(workspace.config(file, sequence_len=LIMIT, excess_length_strategy="truncate_history"))
    assert prepared.manifest.splits["train"].dropped == {"too_long": 1}
    assert "and no history that could go makes it fit" in (prepared.folder / "quarantine.jsonl").read_text(
        encoding="utf-8"
    )


def test_a_beginning_that_the_template_refuses_is_left_out_too(workspace: Any) -> None:
    workspace.use_template(
        "{% if messages[0].content.startswith('bad') %}{{ raise_exception('no') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = [turn for number in range(8) for turn in exchange(number)]
    turns[-4:-2] = [("user", "bad beginning"), ("assistant", "a")]
    file = workspace.chats("a.jsonl", turns)
    limit = prepare(workspace.config(workspace.chats("b.jsonl", exchange(7)))).train.lengths[0] + 14
    prepared = prepare(workspace.config(file, sequence_len=int(limit), excess_length_strategy="truncate_history"))
    (sample,) = prepared.train
    assert text_of(prepared, sample).startswith("<|im_start|>user\nquestion 7")


def test_the_error_says_what_each_way_out_then_costs(workspace: Any) -> None:
    long = [turn for number in range(9) for turn in exchange(number)]
    file = workspace.chats("a.jsonl", exchange(1), long, [("user", "x " * 200), ("assistant", "y")])
    with pytest.raises(DataError, match="2 of 3 samples are longer") as caught:
        prepare(workspace.config(file, sequence_len=LIMIT))
    said = {
        name: (int(rows), int(tokens))
        for name, rows, tokens in re.findall(r"`(\w+)` loses (\d+) rows and (\d+) tokens", str(caught.value))
    }
    for strategy in STRATEGIES:
        counts = prepare(workspace.config(file, sequence_len=LIMIT, excess_length_strategy=strategy)).manifest
        train = counts.splits["train"]
        assert said[strategy] == (sum(train.dropped.values()), train.cut_tokens + sum(train.dropped_tokens.values()))


@pytest.mark.parametrize("strategy", ["truncate", "truncate_history", "split"])
def test_inspect_shows_the_pieces_as_they_are_trained(strategy: str, workspace: Any) -> None:
    turns = [turn for number in range(12) for turn in exchange(number)]
    cfg = workspace.config(workspace.chats("a.jsonl", turns), sequence_len=LIMIT, excess_length_strategy=strategy)
    prepared = prepare(cfg)
    shown = inspect_rows(cfg, count=99)
    ids = sorted([token.id for token in row.tokens] for row in shown)
    assert ids == sorted(ids_of(sample) for sample in prepared.train)
