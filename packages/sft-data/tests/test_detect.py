"""`type: auto` tells a format by its columns, says why, and refuses what it cannot tell for sure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sft_data import generation_prompts, inspect_rows, prepare
from sft_data.detect import settle_formats
from sft_schema import DataError

CHAT = [{"role": "user", "content": "first question"}, {"role": "assistant", "content": "first answer"}]
SHAREGPT = [{"from": "human", "value": "first question"}, {"from": "gpt", "value": "first answer"}]
ROWS: dict[str, dict[str, Any]] = {
    "chat_template": {"messages": CHAT, "id": 3},
    "alpaca": {"instruction": "Add", "input": "1 2", "output": "3"},
    "alpaca_w_system": {"system": "Be brief", "instruction": "Add", "input": "1 2", "output": "3"},
    "prompt_completion": {"prompt": "hello", "completion": "world"},
    "input_output": {"segments": [{"label": True, "text": "hello"}]},
    "tokenized": {"input_ids": [20, 21], "labels": [-100, 21]},
    "completion": {"text": "hello world", "source": "web"},
}


def config(workspace: Any, rows: list[Any], **settings: Any) -> Any:
    file = workspace.rows("a.jsonl", rows)
    return workspace.config(datasets=[{"path": str(file), "type": settings.pop("type", "auto")}], **settings)


@pytest.mark.parametrize("name", ROWS)
def test_a_format_is_told_by_its_columns_and_gives_what_naming_it_gives(name: str, workspace: Any) -> None:
    found = prepare(config(workspace, [ROWS[name]] * 3))
    named = prepare(config(workspace, [ROWS[name]] * 3, type=name))
    assert found.folder == named.folder
    assert named.detected == ()
    (said,) = found.detected
    assert f"a.jsonl: type is {name}, since each of the first 3 rows has " in said


def test_sharegpt_is_a_chat_too(workspace: Any) -> None:
    _, (said,) = settle_formats(config(workspace, [{"conversations": SHAREGPT}]))
    assert "type is chat_template, since each of the first 1 rows has a list of messages in 'conversations'" in said


def test_inspect_and_evaluation_see_the_format_that_was_found(workspace: Any) -> None:
    file = workspace.rows("b.jsonl", [{"messages": CHAT}])
    held_out = [{"path": str(file), "type": "auto"}]
    cfg = config(workspace, [{"messages": CHAT}], test_datasets=held_out, eval_overlap="keep")
    prepared = prepare(cfg)
    assert len(prepared.detected) == 2
    (row,) = inspect_rows(cfg)
    assert workspace.marked(row.tokens).endswith("«first answer<|im_end|>»\n")
    assert [prompt.wanted for prompt in generation_prompts(cfg, prepared.tokenizer)] == ["first answer"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "x"}], r"the shape of no format; their columns are \['question'\]"),
        ([ROWS["completion"], ROWS["alpaca"]], "the shape of no format"),
        ([{"messages": "hello"}], "the shape of no format"),
        (
            [{**ROWS["completion"], **ROWS["alpaca"]}],
            r"'output' and a text in 'text'[\s\S]*`type: alpaca` or `type: comp",
        ),
    ],
)
def test_what_cannot_be_told_for_sure_is_refused(rows: list[Any], message: str, workspace: Any) -> None:
    with pytest.raises(DataError, match=message):
        prepare(config(workspace, rows))


def test_bad_rows_have_no_say(workspace: Any) -> None:
    file = workspace.folder / "a.jsonl"
    file.write_text('not json\n{"text": "hello world"}\n', encoding="utf-8")
    prepared = prepare(workspace.config(datasets=[{"path": str(file), "type": "auto"}]))
    assert prepared.manifest.splits["train"].dropped == {"not_json": 1}


def test_rows_of_two_formats_are_counted_and_messages_may_be_json_text(workspace: Any) -> None:
    chat = {"messages": json.dumps(CHAT)}
    with pytest.raises(DataError, match="rows by format: 2 of chat_template, 1 of alpaca"):
        settle_formats(config(workspace, [chat, ROWS["alpaca"], chat]))
    settled, _ = settle_formats(config(workspace, [chat]))
    assert settled.datasets[0].type == "chat_template"


def test_a_file_without_a_usable_row_is_refused_with_the_reason(workspace: Any) -> None:
    file = workspace.folder / "a.jsonl"
    file.write_text("not json\n", encoding="utf-8")
    with pytest.raises(DataError, match="no row of the first 1 can be read"):
        settle_formats(workspace.config(datasets=[{"path": str(file), "type": "auto"}]))


def test_only_the_first_hundred_rows_are_looked_at_and_the_config_stays_as_it_is(workspace: Any) -> None:
    cfg = config(workspace, [ROWS["completion"]] * 100 + [ROWS["alpaca"]])
    settled, (said,) = settle_formats(cfg)
    assert (cfg.datasets[0].type, settled.datasets[0].type) == ("auto", "completion")
    assert "each of the first 100 rows" in said
