"""The `sft-data` command."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import sft_data.block as block
from sft_data import Pace, Progress, prepare
from sft_data.command import main
from sft_data.source import count_rows
from sft_schema.config import DatasetConfig

CHAT = [("user", "Hello?"), ("assistant", "first answer")]


def write_config(workspace: Any, **settings: object) -> str:
    file = workspace.folder / "c.yaml"
    values = workspace.config(workspace.chats("a.jsonl", CHAT), **settings).model_dump(mode="json", exclude_unset=True)
    file.write_text(json.dumps(values), encoding="utf-8")
    return str(file)


def test_prepare_prints_the_account(workspace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", write_config(workspace), "--set", "sample_packing=true", "--set", "sequence_len=64"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert account["splits"]["train"]["rows_in"] == account["splits"]["train"]["rows_out"] == account["rows"] == 1
    assert 0 < account["efficiency"] < 1
    assert account["detected"] == []


def test_prepare_prints_the_format_that_was_found(workspace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", write_config(workspace), "--set", "datasets.0.type=auto"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["detected"]
    assert said.endswith("type is chat_template, since each of the first 1 rows has a list of messages in 'messages'")


def test_a_wrong_config_or_row_is_exit_code_2(workspace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(workspace)
    assert main(["prepare", config, "--set", "sequence_length=64"]) == 2
    assert "did you mean 'sequence_len'?" in capsys.readouterr().err
    assert main(["prepare", config, "--set", "datasets.0.path=gone.jsonl"]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_inspect_shows_the_trained_text_and_spells_out_what_cannot_be_seen(
    workspace: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = workspace.folder / "c.yaml"
    cfg = workspace.config(workspace.chats("a.jsonl", [("user", "Hi\x1b[2J"), ("assistant", "first answer")]))
    file.write_text(json.dumps(cfg.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    assert main(["inspect", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "⟦first answer<|im_end|>⟧" in shown
    assert "Hi\\u{1b}[2J" in shown
    assert main(["inspect", str(file), "--row", "0", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert "".join(token["text"] for token in row["tokens"] if token["trained"]) == "first answer<|im_end|>"
    assert main(["inspect", str(file), "--row", "7"]) == 2


def test_stats_are_those_of_the_samples(workspace: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(workspace)
    assert main(["stats", config, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (sample,) = prepare(workspace.config(workspace.folder / "a.jsonl")).train
    train = found["splits"]["train"]
    assert (train["samples"], train["tokens"]) == (1, len(sample.input_ids))
    assert set(train["lengths"].values()) == {len(sample.input_ids)}
    assert main(["stats", config]) == 0
    assert "1 rows, 1 samples kept, dropped: none" in capsys.readouterr().out


def test_shares_of_several_jobs_are_joined_to_the_same_bytes(
    workspace: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 3)
    config = write_config(workspace)
    workspace.chats("a.jsonl", *([("user", f"question {n}"), ("assistant", "yes")] for n in range(20)))
    alone = ["--set", f"dataset_prepared_path={workspace.folder / 'alone'}"]
    assert main(["prepare", config, *alone]) == 0
    capsys.readouterr()
    made = []
    for job in (3, 1, 2):
        assert main(["prepare", config, "--shard", f"{job}/3"]) == 0
        made.append(json.loads(capsys.readouterr().out)["blocks"])
    assert made == [2, 3, 2]
    workers = pytest.importorskip("sft_data.workers")
    monkeypatch.setattr(workers, "make_shard", None)  # nothing is left to be made
    assert main(["prepare", config]) == 0
    folder = Path(json.loads(capsys.readouterr().out)["folder"])
    (other,) = (workspace.folder / "alone").iterdir()
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == {f.name: f.read_bytes() for f in other.iterdir()}
    for wrong in ("0/3", "4/3", "x"):
        with pytest.raises(SystemExit):
            main(["prepare", config, "--shard", wrong])
    assert main(["prepare", config, "--shard", "1/2", "--set", "dataset_prepared_path=s3://bucket/x"]) == 2


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("what", ["a byte", "a file", "the index", "the manifest", "nothing"])
def test_verify_names_what_is_damaged(
    workspace: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 3)
    file = workspace.chats("a.jsonl", *([("user", f"question {n}"), ("assistant", "yes")] for n in range(9)))
    folder = prepare(workspace.config(file)).folder
    shard = folder / "shard-00001.arrow"
    if what == "a byte":
        damage(shard)
    elif what == "a file":
        shard.unlink()
    elif what == "the index":
        other = prepare(workspace.config(file, val_set_size=2)).folder
        shutil.copy(other / "train.arrow", folder / "train.arrow")
    elif what == "the manifest":
        text = (folder / "manifest.json").read_text(encoding="utf-8")
        (folder / "manifest.json").write_text(text.replace('"rows_out": 9', '"rows_out": 8'), encoding="utf-8")
    assert main(["verify", str(folder)]) == (0 if what == "nothing" else 2)
    said = capsys.readouterr()
    wanted = {
        "a byte": "shard-00001.arrow: its SHA-256 is not",
        "a file": "shard-00001.arrow: it is missing",
        "the index": "train.arrow: 7 samples, and the manifest counts 9",
        "the manifest": "manifest.json: rows do not add up",
        "nothing": "",
    }
    assert wanted[what] in said.err
    assert ("whole" in said.out) == (what == "nothing")
    assert main(["verify", str(folder.parent)]) == 2


def test_progress_says_rows_tokens_time_and_memory() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    now[0] = 110.0
    line = pace.line(Progress("a.jsonl", 4000, 10000, 25_000_000))
    assert line.startswith("a.jsonl: 4,000 of 10,000 rows, 400 rows/s, 2.5M tokens/s, 15 s left")
    now[0] = 130.0
    assert "left" not in pace.line(Progress("b.jsonl", 10, None, 500))
    now[0] = 132.0
    assert "10 rows, 5 rows/s, 250 tokens/s" in pace.line(Progress("b.jsonl", 10, None, 500))


def test_rows_are_counted_where_that_is_quick(workspace: Any) -> None:
    file = workspace.folder / "a.jsonl"
    file.write_bytes(b'{"text": 1}\n{"text": 2}\n{"text": 3}')
    for split, wanted in (("train", 3), ("train[:2]", None)):
        assert count_rows(DatasetConfig(path=str(file), split=split)) == wanted
    packed = workspace.folder / "a.json"
    packed.write_bytes(b"[]")
    assert count_rows(DatasetConfig(path=str(packed))) is None
    assert count_rows(DatasetConfig(path="gone.jsonl")) is None
