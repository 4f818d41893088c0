"""Duplicates and overlap: what is the same is found, what is not stays, and each is counted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_data import prepare
from sft_data.duplicate import SeenWords, first_equal, first_in, minima_of
from sft_data.duplicate.near import words_of
from sft_schema import DataError

REWRITES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<|user|>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Writes the last answer otherwise than earlier ones."""


def chat(text: str, answer: str = "yes") -> list[tuple[str, str]]:
    return [("user", text), ("assistant", answer)]


def quarantined(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]


def test_exact_duplicates_are_dropped_over_all_data_sets_and_name_their_twin(workspace: Any) -> None:
    one = workspace.chats("a.jsonl", chat("a"), chat("b"), chat("a"))
    two = workspace.chats("b.jsonl", chat("b"), chat("b", "no"))
    settings = {"dataset_exact_deduplication": True, "on_bad_row": "error", "max_dropped_fraction": 0.0}
    prepared = prepare(workspace.config(one, two, **settings))
    counts = prepared.manifest.splits["train"]
    assert (counts.rows_in, counts.rows_out, counts.dropped) == (5, 3, {"duplicate": 2})
    assert counts.tokens_in == counts.tokens + counts.dropped_tokens["duplicate"]
    assert [row["detail"].rpartition("/")[2] for row in quarantined(prepared.folder)] == ["a.jsonl:1", "a.jsonl:2"]
    assert prepare(workspace.config(one, two)).manifest.splits["train"].rows_out == 5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(0, 30))
def test_equal_digests_are_found_as_a_dictionary_would(pairs: list[tuple[int, int]], cut: int) -> None:
    digests = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    assert first_equal(digests).tolist() == [pairs.index(each) for each in pairs]
    known, asked = pairs[:cut], pairs[cut:]
    wanted = [known.index(each) if each in known else -1 for each in asked]
    assert first_in(digests[cut:], digests[:cut]).tolist() == wanted


def test_turns_that_were_made_of_one_row_are_no_near_duplicates_of_each_other(workspace: Any) -> None:
    workspace.use_template(REWRITES)
    turns = [turn for number in range(3) for turn in chat(f"question {number}", f"answer {number}")]
    file = workspace.chats("a.jsonl", turns, chat("an other", "one"))
    prepared = prepare(workspace.config(file, expand_turns=True, dataset_near_deduplication=0.8))
    counts = prepared.manifest.splits["train"]
    assert (counts.rows_in, counts.expanded, counts.rows_out, counts.dropped) == (2, 2, 4, {})


def test_a_duplicate_that_was_cut_leaves_the_account_whole(workspace: Any) -> None:
    long = [turn for number in range(9) for turn in chat(f"question {number}", "answer " * 9)]
    file = workspace.chats("a.jsonl", long, chat("a"), long)
    for strategy in ("split", "truncate", "truncate_history"):
        cfg = workspace.config(file, sequence_len=96, excess_length_strategy=strategy, dataset_exact_deduplication=True)
        counts = prepare(cfg).manifest.splits["train"]
        counts.check()
        assert counts.dropped == {"duplicate": 1}
        alone = workspace.chats("b.jsonl", long, chat("a"))
        once = prepare(workspace.config(alone, sequence_len=96, excess_length_strategy=strategy))
        other = once.manifest.splits["train"]
        assert (counts.cut_rows, counts.cut_tokens, counts.expanded, counts.tokens) == (
            other.cut_rows, other.cut_tokens, other.expanded, other.tokens
        )  # fmt: skip


def test_the_same_text_that_is_trained_differently_is_no_duplicate(workspace: Any) -> None:
    path = str(workspace.chats("a.jsonl", chat("a")))
    datasets = [{"path": path}, {"path": path, "train_on_inputs": True}]
    prepared = prepare(workspace.config(datasets=datasets, dataset_exact_deduplication=True))
    assert len(prepared.train) == 2
    assert list(prepared.manifest.splits["train"].datasets) == [path, f"{path} #2"]


def changed(words: list[str], count: int, seed: int = 0) -> list[str]:
    found = list(words)
    for index in random.Random(seed).sample(range(len(words)), count):
        found[index] = f"changed{index}"
    return found


def similarity(one: list[str], two: list[str]) -> float:
    first, second = (set(zip(*(words[shift:] for shift in range(5)), strict=False)) for words in (one, two))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_minhash_judges_like_the_exact_similarity_but_for_its_error(threshold: float) -> None:
    source = random.Random(3)
    wrong = 0
    for number in range(60):
        words = [f"w{source.randrange(5000)}" for _ in range(300)]
        other = changed(words, number % 30, seed=number)
        exact = similarity(words, other)
        seen = SeenWords(threshold)
        first, second = (minima_of({"text": " ".join(each)}, "tools") for each in (words, other))
        assert first is not None
        assert second is not None
        assert seen.twin(first, 0) is None
        found = seen.twin(second, 1) is not None
        wrong += found != (exact >= threshold) and abs(exact - threshold) > 0.1
    assert wrong == 0


def test_near_duplicates_are_dropped_and_rows_that_only_share_the_system_message_are_not(workspace: Any) -> None:
    text = [f"word{number}" for number in range(120)]
    system = ("system", " ".join(f"rule{number}" for number in range(400)))
    rows = [
        [system, *chat(" ".join(text))],
        [system, *chat(" ".join(changed(text, 1)) + "!")],
        [system, *chat(" ".join(f"other{number}" for number in range(120)))],
        [system, *chat("short one")],
        [system, *chat("short two")],
    ]
    file = workspace.chats("a.jsonl", *rows)
    prepared = prepare(workspace.config(file, dataset_near_deduplication=0.8, sequence_len=4096))
    assert prepared.manifest.splits["train"].dropped == {"near_duplicate": 1}
    (row,) = quarantined(prepared.folder)
    assert row["place"].endswith("a.jsonl:2")
    assert row["detail"].endswith("a.jsonl:1")


def test_tools_are_left_out_of_the_words_and_capitals_and_marks_do_not_count() -> None:
    row = {"messages": [{"role": "user", "content": "Add: 2, two!"}], "tools": [{"name": "add"}], "id": 3}
    assert list(words_of(row, "tools")) == ["user", "add", "2", "two"]


def test_held_out_samples_that_are_trained_on_are_dropped_kept_or_refused(workspace: Any) -> None:
    train = workspace.chats("a.jsonl", chat("a"), chat("b"))
    held = [{"path": str(workspace.chats("b.jsonl", chat("b"), chat("c"), chat("c")))}]
    dropped = prepare(workspace.config(train, test_datasets=held))
    counts = dropped.manifest.splits["eval"]
    assert (counts.rows_in, counts.rows_out, counts.dropped) == (3, 2, {"overlap": 1})
    assert "a.jsonl:2, which is trained on" in quarantined(dropped.folder)[0]["detail"]
    kept = prepare(workspace.config(train, test_datasets=held, eval_overlap="keep")).manifest.splits["eval"]
    assert (kept.rows_out, kept.overlap, kept.dropped) == (3, 1, {})
    with pytest.raises(DataError, match=r"1 of 3 held-out samples are trained on too.*b\.jsonl:1 is .*a\.jsonl:2"):
        prepare(workspace.config(train, test_datasets=held, eval_overlap="error"))


def test_nothing_but_overlap_is_refused(workspace: Any) -> None:
    train = workspace.chats("a.jsonl", chat("a"), chat("b"))
    with pytest.raises(DataError, match="2 of 2 held-out samples are trained on too"):
        prepare(workspace.config(train, test_datasets=[{"path": str(train)}]))
    kept = prepare(workspace.config(train, test_datasets=[{"path": str(train)}], eval_overlap="keep"))
    assert kept.manifest.splits["eval"].overlap == 2


def test_rows_that_repeat_do_not_leak_into_the_held_out_ones(workspace: Any) -> None:
    rows = [chat(str(number % 10)) for number in range(40)] + [chat(f"single {number}") for number in range(40)]
    prepared = prepare(workspace.config(workspace.chats("a.jsonl", *rows), val_set_size=0.25))
    counts = prepared.manifest.splits["eval"]
    assert counts.rows_in == 20
    assert counts.dropped["overlap"] > 0
    train = {sample.input_ids.tobytes() for sample in prepared.train}
    assert not train & {sample.input_ids.tobytes() for sample in prepared.eval}


def test_the_budget_for_lost_rows_stops_at_the_data_set_that_breaks_it(workspace: Any) -> None:
    good = workspace.chats("good.jsonl", *(chat(str(number)) for number in range(20)))
    bad = workspace.rows("bad.jsonl", [{"text": "x"}, *json_rows(3)])
    with pytest.raises(DataError, match=r"bad\.jsonl'.*1 of 4 rows are lost.*missing_column.*bad\.jsonl:1"):
        prepare(workspace.config(good, bad, max_dropped_fraction=0.2))
    assert len(prepare(workspace.config(good, bad, max_dropped_fraction=0.25)).train) == 23


def json_rows(count: int) -> list[object]:
    return [{"messages": [{"role": r, "content": c} for r, c in chat(f"row {number}")]} for number in range(count)]


def test_every_data_set_has_its_account_and_they_add_up(workspace: Any) -> None:
    one = workspace.chats("a.jsonl", chat("a"), chat("a long question " * 40), chat("b"))
    two = workspace.rows("b.jsonl", [{"text": "x"}, *json_rows(2)])
    counts = prepare(workspace.config(one, two, sequence_len=60, excess_length_strategy="drop"))
    train = counts.manifest.splits["train"]
    first, second = train.datasets[str(one)], train.datasets[str(two)]
    assert (first.rows_in, first.rows_out, first.dropped) == (3, 2, {"too_long": 1})
    assert (second.rows_in, second.rows_out, second.dropped) == (3, 2, {"missing_column": 1})
    for name in ("rows_in", "rows_out", "tokens", "trained_tokens", "tokens_in"):
        assert getattr(train, name) == getattr(first, name) + getattr(second, name)
    assert train.tokens_in == train.tokens + train.dropped_tokens["too_long"]
