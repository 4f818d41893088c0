"""Rows that are tokens already, and formats that are functions of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft_data import inspect_rows, prepare
from sft_schema import IGNORE_INDEX, ConfigError, DataError

CHAT = [("user", "first question"), ("assistant", "first answer")]
FORMATS = """
from sft_schema.record import Conversation, Message, Segment, Segments, Tokens


class Refused(Exception):
    def __init__(self, reason, detail):
        self.reason, self.detail = reason, detail


def quiz(row, cfg):
    if "q" not in row.values:
        raise Refused("no_question", f"the row has {sorted(row.values)}")
    texts = {"user": row.values["q"], "assistant": row.values["a"]}
    return Conversation(messages=tuple(Message(role=role, content=text) for role, text in texts.items()))


def columns(row, cfg):
    texts = {"user": row.values["q"], "assistant": row.values["a"]}
    return {"messages": [{"role": role, "content": text} for role, text in texts.items()]}


def segments(row, cfg):
    return Segments(segments=(Segment(text=row.values["a"], train=True, role="assistant", field="a"),))


def nothing(row, cfg):
    return None


not_callable = 3
"""
QUIZ = [{"q": "first question", "a": "first answer"}]


@pytest.fixture
def own(workspace: Any) -> Any:
    """A config over quiz rows with a function of formats.py."""
    (workspace.folder / "formats.py").write_text(FORMATS, encoding="utf-8")

    def make(function: str, rows: list[Any] = QUIZ) -> Any:
        file = workspace.rows("a.jsonl", rows)
        name = function if ":" not in function or "/" in function else f"{workspace.folder}/{function}"
        return workspace.config(datasets=[{"path": str(file), "type": "custom", "format_function": name}])

    return make


@pytest.mark.parametrize("function", ["formats.py:quiz", "formats.py:columns"])
def test_a_function_of_ones_own_gives_the_same_as_a_built_in_format(function: str, own: Any, workspace: Any) -> None:
    (sample,) = prepare(own(function)).train
    (wanted,) = prepare(workspace.config(workspace.chats("b.jsonl", CHAT))).train
    assert sample.input_ids.tolist() == wanted.input_ids.tolist()
    assert sample.labels.tolist() == wanted.labels.tolist()


def test_segments_of_ones_own_need_no_chat_template(own: Any, workspace: Any) -> None:
    workspace.use_template(None)
    (shown,) = inspect_rows(own("formats.py:segments"))
    assert "first answer" in "".join(token.text for token in shown.tokens)
    with pytest.raises(DataError, match="there is no chat template for its conversations"):
        prepare(own("formats.py:quiz"))


def test_a_row_that_the_function_refuses_is_set_aside_with_its_reason(own: Any) -> None:
    counts = prepare(own("formats.py:quiz", [*QUIZ, {"x": 1}])).manifest.splits["train"]
    assert counts.dropped == {"no_question": 1}


@pytest.mark.parametrize(
    ("function", "rows", "message"),
    [
        ("formats.py:nothing", QUIZ, r"formats\.py:nothing returned a NoneType"),
        ("formats.py:columns", [{}], r"a\.jsonl:1: .*formats\.py:columns raised KeyError: 'q'"),
    ],
)
def test_a_function_that_fails_is_named_with_the_row(function: str, rows: Any, message: str, own: Any) -> None:
    with pytest.raises(DataError, match=message):
        prepare(own(function, rows))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("formats.py:gone", "has no function 'gone'"),
        ("formats.py:not_callable", "has no function 'not_callable'"),
        ("/gone/formats.py:quiz", "cannot be imported: FileNotFoundError"),
        ("/no.such/module:quiz", "cannot be imported: ModuleNotFoundError"),
        ("my_format", "nobody offers 'my_format'"),
    ],
)
def test_a_function_that_is_not_there_is_named_before_a_row_is_read(function: str, message: str, own: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(own(function))


def test_data_made_by_an_older_function_are_not_used_again(own: Any, workspace: Any) -> None:
    first = prepare(own("formats.py:quiz")).folder
    assert prepare(own("formats.py:quiz")).folder == first
    other = FORMATS.replace('row.values["a"]}', 'row.values["a"] + "!"}')
    (workspace.folder / "formats2.py").write_text(other, encoding="utf-8")
    assert prepare(own("formats2.py:quiz")).folder != first


def tokenized(workspace: Any, *rows: Any, **settings: Any) -> Any:
    file = workspace.rows("t.jsonl", list(rows))
    return workspace.config(datasets=[{"path": str(file), "type": "tokenized"}], **settings)


def test_tokens_and_labels_are_kept_as_they_are(workspace: Any) -> None:
    (made,) = prepare(workspace.config(workspace.chats("b.jsonl", CHAT))).train
    row = {"input_ids": made.input_ids.tolist(), "labels": made.labels.tolist()}
    padded = {key: [*values, 1 if key == "input_ids" else IGNORE_INDEX] for key, values in row.items()}
    mask = [1] * len(row["labels"]) + [0]
    cfg = tokenized(workspace, row, {**padded, "attention_mask": mask})
    for sample in prepare(cfg).train:
        assert sample.input_ids.tolist() == row["input_ids"]
        assert sample.labels.tolist() == row["labels"]
    (shown, _) = inspect_rows(cfg, count=2)
    assert workspace.marked(shown.tokens) == workspace.marked(
        inspect_rows(workspace.config(Path(made.origin.dataset)))[0].tokens
    )
    assert {token.field for token in shown.tokens} == {"input_ids"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input_ids": [20, 21]}, "missing_column"),
        ({"input_ids": [], "labels": []}, "wrong_type"),
        ({"input_ids": [20, True], "labels": [20, 1]}, "wrong_type"),
        ({"input_ids": [20, 21], "labels": [20]}, "bad_label"),
        ({"input_ids": [20, 21], "labels": [20, 22]}, "bad_label"),
        ({"input_ids": [20, 99_999], "labels": [20, 99_999]}, "unknown_token"),
        ({"input_ids": [20, -1], "labels": [20, -1]}, "unknown_token"),
        ({"input_ids": [20, 21], "labels": [20, IGNORE_INDEX]}, "nothing_to_train"),
        ({"input_ids": [20, 21, 22], "labels": [-100, 21, 22], "attention_mask": [1, 0, 1]}, "bad_attention_mask"),
        ({"input_ids": [20, 21, 22], "labels": [-100, 21, 22], "attention_mask": [1, 1, 0]}, "bad_attention_mask"),
        ({"input_ids": [20, 21], "labels": [-100, -100], "attention_mask": [0, 0]}, "bad_attention_mask"),
        ({"input_ids": [20, 21], "labels": [-100, 21], "attention_mask": [1]}, "bad_attention_mask"),
    ],
)
def test_tokens_that_cannot_be_right_are_set_aside(row: Any, reason: str, workspace: Any) -> None:
    good = {"input_ids": [20, 21], "labels": [IGNORE_INDEX, 21]}
    assert prepare(tokenized(workspace, good, row)).manifest.splits["train"].dropped == {reason: 1}
