"""The `sft-data` command."""

import json
from typing import Any

import pytest

from sft_data.command import main

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
