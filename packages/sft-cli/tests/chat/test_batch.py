"""Prompts from a file, answers to a file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from sft_cli.chat.batch import answer_all, read_questions
from sft_cli.chat.speaker import Message
from sft_schema import DataError


def lengths(conversations: list[list[Message]]) -> list[str]:
    return [f"{sum(len(each['content']) for each in messages)} " for messages in conversations]


def test_prompts_conversations_and_lines_are_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Hi", "id": 7},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    first, second, third = read_questions(tmp_path / "q.jsonl", "Be brief.")
    assert first.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert (first.row["id"], first.wanted) == (7, None)
    assert (len(second.messages), second.wanted) == (2, "b")
    assert third.messages[0]["content"] == "s"
    (tmp_path / "q.txt").write_text("one {\n\ntwo\n")
    assert [each.messages[0]["content"] for each in read_questions(tmp_path / "q.txt", None)] == ["one {", "two"]


def test_answers_keep_row_and_order_and_are_compared(tmp_path: Path) -> None:
    rows = [{"prompt": "x" * size} for size in (3, 1, 2)]
    rows.append({"messages": [{"role": "user", "content": "abcd"}, {"role": "assistant", "content": "4"}]})  # pyright: ignore
    rows.append({"messages": [{"role": "user", "content": "abcd"}, {"role": "assistant", "content": "5"}]})  # pyright: ignore
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, told = io.StringIO(), list[int]()
    assert answer_all(read_questions(tmp_path / "q.jsonl", None), lengths, out, 2, told.append) == (2, 1)
    written = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["answer"] for row in written] == ["3 ", "1 ", "2 ", "4 ", "4 "]
    assert [row.get("exact") for row in written] == [None, None, None, True, False]
    assert all(row.items() <= found.items() for row, found in zip(rows, written, strict=True))
    assert told == [2, 4, 5]


def test_a_batch_that_fails_leaves_the_ones_before(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("a\nb\nc\n")
    out = io.StringIO()

    def fails(conversations: list[list[Message]]) -> list[str]:
        if conversations[0][-1]["content"] == "c":
            raise RuntimeError
        return lengths(conversations)

    with pytest.raises(RuntimeError):
        answer_all(read_questions(tmp_path / "q.txt", None), fails, out, 2, lambda _: None)
    assert out.getvalue().count("\n") == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no prompts"),
        ("nothing", "no JSON"),
        ("[1]", "a list"),
        ('{"messages": []}', "neither"),
        ('{"messages": [{"role": "user"}]}', "neither"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "begins with the answer"),
    ],
)
def test_a_line_that_is_no_prompt_is_refused_with_its_place(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError, match=said) as refused:
        read_questions(tmp_path / "q.jsonl", None)
    assert "q.jsonl" in refused.value.where
    with pytest.raises(DataError, match="cannot be read"):
        read_questions(tmp_path / "no.jsonl", None)
