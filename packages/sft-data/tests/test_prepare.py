"""The path from files to stored samples: nothing lost, nothing stale, everything named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_data import prepare
from sft_schema import IGNORE_INDEX, DataError
from sft_schema.check import check_sample

CHAT = [("user", "Hello?"), ("assistant", "first answer")]
LONG = [("user", "Hello?"), ("assistant", "one two three four five six seven eight nine ten " * 8)]


def reasons(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    return [(json.loads(line)["place"].rpartition("/")[2], json.loads(line)["reason"]) for line in lines]


def test_samples_are_kept_with_their_origin(workspace: Any) -> None:
    prepared = prepare(workspace.config(workspace.chats("a.jsonl", CHAT, CHAT[::-1])))
    assert len(prepared.train) == 2
    for sample in prepared.train:
        check_sample(sample)
    assert prepared.train[1].origin.row == 1
    assert prepared.train[1].origin.place.endswith("a.jsonl:2")
    assert prepared.train.lengths.tolist() == [len(sample.input_ids) for sample in prepared.train]
    assert prepared.train.trained.tolist() == [int((each.labels != IGNORE_INDEX).sum()) for each in prepared.train]
    with pytest.raises(IndexError):
        prepared.train[2]


BAD_LINES = {
    b'{"messages": [': "not_json",
    b"\xff\xff": "not_utf8",
    b"[1, 2]": "not_an_object",
    b"null": "not_an_object",
    b'{"text": "x"}': "missing_column",
    b'{"messages": []}': "no_messages",
    b'{"messages": "hello"}': "wrong_type",
    b'{"messages": {"role": "user"}}': "wrong_type",
    b'{"messages": ["hello"]}': "bad_message",
    b'{"messages": [{"content": "no role"}]}': "bad_message",
    b'{"messages": [{"role": "user", "content": 3}]}': "bad_message",
    b'{"messages": [{"role": 5, "content": "x"}]}': "bad_message",
    b'{"messages": [{"role": "user", "content": "x"}], "tools": 3}': "wrong_type",
    b'{"messages": [{"role": "user", "content": "only a question"}]}': "nothing_to_train",
    b'{"messages": [{"role": "user", "content": "x"}, {"role": "robot", "content": "y"}]}': "nothing_to_train",
    b'{"messages": [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "y"}]}': (
        "special_token_in_content"
    ),
    b'{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "y"}]}': "not_text",
}


def test_every_bad_row_is_set_aside_with_its_line_and_reason(workspace: Any) -> None:
    good = workspace.chats("good.jsonl", CHAT).read_bytes()
    file = workspace.folder / "bad.jsonl"
    file.write_bytes(good + b"\n" + b"\n".join(BAD_LINES) + b"\n" + good)
    prepared = prepare(workspace.config(file))
    counts = prepared.manifest.splits["train"]
    assert counts.rows_in == len(BAD_LINES) + 2
    assert counts.rows_out == len(prepared.train) == 2
    wanted = [(f"bad.jsonl:{line}", reason) for line, reason in enumerate(BAD_LINES.values(), 3)]
    assert sorted(reasons(prepared.folder)) == sorted(wanted)


@pytest.mark.parametrize("line", BAD_LINES, ids=[f"{n}-{reason}" for n, reason in enumerate(BAD_LINES.values())])
def test_a_bad_row_stops_the_run_when_asked(workspace: Any, line: bytes) -> None:
    file = workspace.folder / "bad.jsonl"
    file.write_bytes(line + b"\n")
    with pytest.raises(DataError, match=r"bad\.jsonl:1: ") as caught:
        prepare(workspace.config(file, on_bad_row="error"))
    assert BAD_LINES[line] in str(caught.value)


def test_no_row_left_is_an_error_that_shows_the_first_reason(workspace: Any) -> None:
    file = workspace.rows("a.jsonl", [{"text": "x"}])
    with pytest.raises(
        DataError, match=r"no row of 1 is left.*missing_column.*a\.jsonl:1: no 'messages' or 'conversations'"
    ):
        prepare(workspace.config(file))


def test_over_length_says_the_price_of_every_way_out(workspace: Any) -> None:
    file = workspace.chats("a.jsonl", CHAT, LONG)
    with pytest.raises(DataError, match="1 of 2 samples are longer than sequence_len 64") as caught:
        prepare(workspace.config(file, sequence_len=64))
    dropped = prepare(workspace.config(file, sequence_len=64, excess_length_strategy="drop"))
    cut = prepare(workspace.config(file, sequence_len=64, excess_length_strategy="truncate"))
    counts = cut.manifest.splits["train"]
    assert dropped.manifest.splits["train"].dropped == {"too_long": 1}
    assert (counts.cut_rows, counts.longest, counts.rows_out) == (1, 64, 2)
    assert f"`truncate` loses 0 rows and {counts.cut_tokens} tokens" in str(caught.value)
    assert f"`drop` loses 1 rows and {counts.cut_tokens + 64} tokens" in str(caught.value)


def test_a_cut_that_leaves_nothing_to_train_drops_the_row(workspace: Any) -> None:
    question = [("user", "one two three four five six seven " * 20), ("assistant", "yes")]
    file = workspace.chats("a.jsonl", CHAT, question)
    prepared = prepare(workspace.config(file, sequence_len=32, excess_length_strategy="truncate"))
    assert prepared.manifest.splits["train"].dropped == {"nothing_to_train": 1}


def test_the_same_config_and_data_are_prepared_once(workspace: Any) -> None:
    file = workspace.chats("a.jsonl", CHAT)
    first = prepare(workspace.config(file))
    stamp = (first.folder / "manifest.json").stat().st_mtime_ns
    again = prepare(workspace.config(file, learning_rate=0.5, sample_packing=True))
    assert again.folder == first.folder
    assert (again.folder / "manifest.json").stat().st_mtime_ns == stamp


def test_whatever_decides_the_tokens_changes_the_fingerprint(workspace: Any) -> None:
    file = workspace.chats("a.jsonl", CHAT)
    folders = [prepare(workspace.config(file, **settings)).folder.name for settings in (
        {}, {"train_on_eos": "none"}, {"train_on_inputs": True}, {"sequence_len": 100}, {"chat_template": "chatml"},
        {"special_tokens": {"eos_token": "</s>"}}, {"special_tokens_in_content": "allow"},
    )]  # fmt: skip
    workspace.chats("a.jsonl", CHAT, CHAT)
    folders.append(prepare(workspace.config(file)).folder.name)
    workspace.use_template("{% for m in messages %}{{ m.role }}{{ m.content }}<|im_end|>{% endfor %}")
    folders.append(prepare(workspace.config(file)).folder.name)
    assert len(set(folders)) == len(folders)


def test_held_out_rows_come_from_the_seed_and_are_gone_from_training(workspace: Any) -> None:
    chats = [[("user", f"question {n}"), ("assistant", f"answer {n}")] for n in range(20)]
    file = workspace.chats("a.jsonl", *chats)
    prepared = prepare(workspace.config(file, val_set_size=0.25))
    assert prepared.eval is not None
    held_out = {sample.origin.row for sample in prepared.eval}
    assert len(held_out) == 5
    assert held_out.isdisjoint({sample.origin.row for sample in prepared.train})
    assert {split: counts.rows_in for split, counts in prepared.manifest.splits.items()} == {"train": 15, "eval": 5}
    other = prepare(workspace.config(file, val_set_size=5, seed=1))
    assert other.eval is not None
    assert {sample.origin.row for sample in other.eval} != held_out
    with pytest.raises(DataError, match="20 of 20 samples"):
        prepare(workspace.config(file, val_set_size=20))


def test_json_lines_arrays_parquet_and_folders_give_the_same_tokens(workspace: Any) -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": {"a": "x"}}}
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c", "tool_calls": [call]}]},
    ]
    lines = workspace.rows("a.jsonl", rows)
    array = workspace.folder / "a.json"
    array.write_text(json.dumps(rows), encoding="utf-8")
    parquet = workspace.folder / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    folder = workspace.folder / "folder"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines.read_bytes())
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ m.tool_calls is defined }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    workspace.use_template(template)
    tokens = [
        [sample.input_ids.tolist() for sample in prepare(workspace.config(path)).train]
        for path in (lines, array, parquet, folder, workspace.folder / "a.json*")
    ]
    assert tokens[0] == tokens[1] == tokens[2] == tokens[3] == tokens[4][:2] == tokens[4][2:]


def test_other_column_and_property_names_are_mapped(workspace: Any) -> None:
    row = {"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]}
    file = workspace.rows("a.jsonl", [row])
    mappings = {"role": "from", "content": "value"}
    dataset = {"path": str(file), "field_messages": "conversations", "message_property_mappings": mappings}
    mapped = prepare(workspace.config(datasets=[dataset])).train[0]
    plain = prepare(workspace.config(workspace.chats("b.jsonl", [("user", "a"), ("assistant", "b")]))).train[0]
    assert np.array_equal(mapped.input_ids, plain.input_ids)
    assert np.array_equal(mapped.labels, plain.labels)


def test_a_folder_without_files_of_a_known_kind_is_named(workspace: Any) -> None:
    folder = workspace.folder / "hub"
    folder.mkdir()
    (folder / "train.xls").write_text("instruction,output\nAdd,2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no \.jsonl"):
        prepare(workspace.config(folder))


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("gone.jsonl", None, "there is no such file"),
        ("a.dat", b"x", "the ending of 'a.dat' does not say"),
        ("a.json", b'[{"messages": ', "not a JSON array"),
        ("a.parquet", b"PAR1 cut off", "not a readable Parquet file"),
        ("none*.jsonl", None, "no file matches"),
    ],
)
def test_an_unusable_source_is_named(workspace: Any, path: str, content: bytes | None, message: str) -> None:
    file = workspace.folder / path
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        prepare(workspace.config(file))
    assert path in caught.value.where


def test_a_missing_chat_template_names_the_setting(workspace: Any) -> None:
    file = workspace.chats("a.jsonl", CHAT)
    workspace.use_template(None)
    with pytest.raises(DataError, match="chat_template: chatml"):
        prepare(workspace.config(file))
    assert len(prepare(workspace.config(file, chat_template="chatml")).train) == 1


def test_a_special_token_outside_the_vocabulary_is_refused(workspace: Any) -> None:
    with pytest.raises(DataError, match="pad_token '<none>' is not in the vocabulary"):
        prepare(workspace.config(workspace.chats("a.jsonl", CHAT), special_tokens={"pad_token": "<none>"}))


def test_a_template_without_stop_token_refuses_its_rows(workspace: Any) -> None:
    file = workspace.chats("a.jsonl", CHAT)
    workspace.use_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", eos_token="</s>")
    with pytest.raises(DataError, match="no_end_of_turn"):
        prepare(workspace.config(file))
    assert len(prepare(workspace.config(file, train_on_eos="none")).train) == 1


def test_damaged_prepared_data_is_named(workspace: Any) -> None:
    cfg = workspace.config(workspace.chats("a.jsonl", CHAT))
    folder = prepare(cfg).folder
    (folder / "train.arrow").write_bytes(b"cut off")
    with pytest.raises(DataError, match="prepared data is damaged"):
        prepare(cfg)
