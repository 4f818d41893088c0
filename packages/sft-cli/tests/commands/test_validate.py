from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sft_cli.main import main

GOOD = """\
base_model: some/model
datasets:
  - path: train.jsonl
learning_rate: 1e-4
"""
BAD = """\
base_model: some/model
datasets:
  - path: train.jsonl
learning_rte: 1e-4
learning_rate: fast
sequence_len: 1
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return str(path)


def test_a_good_config_is_summarised(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", good]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"OK  {good}\n")
    for text in ("some/model: all weights trained", "train.jsonl (chat_template)", "2048 tokens", "0.0001"):
        assert text in shown.out
    assert shown.err == ""


def test_the_summary_follows_the_overrides(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["adapter=lora", "lora_target_linear=true", "lora_r=8", "sample_packing=true", "max_steps=7"]
    overrides += ["micro_batch_size=3", "gradient_accumulation_steps=2", "val_set_size=0.1"]
    assert main(["validate", good, *(word for each in overrides for word in ("--set", each))]) == 0
    text = capsys.readouterr().out
    for part in ("LoRA r 8, alpha 32", "packed", "7 steps, 6 rows a step", "0.1 of the training rows"):
        assert part in text


def test_unusual_values_are_advice_and_no_error(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", good, "--set", "learning_rate=2e-3", "--set", "gradient_accumulation_steps=8"]) == 0
    shown = capsys.readouterr()
    lines = [line for line in shown.out.splitlines() if line.startswith("    advice")]
    assert lines == [
        "    advice    learning_rate 0.002 is above the usual 1e-05 to 5e-05 (training all weights)",
    ]
    assert shown.err == ""


def test_json_of_a_good_config_holds_the_advice(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", good, "--json", "--set", "learning_rate=2e-3"]) == 0
    first, second = json.loads(capsys.readouterr().out)["advice"]
    assert first == {
        "code": "unusual_value",
        "key": "learning_rate",
        "value": "0.002",
        "range": "1e-05 to 5e-05",
        "message": "learning_rate 0.002 is above the usual 1e-05 to 5e-05 (training all weights)",
    }
    assert (second["key"], second["value"], second["range"]) == ("gradient_accumulation_steps", "1", "4 to 16")


def test_all_mistakes_are_shown_at_once_with_line_and_fix(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", bad]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    for place in ("4:1: learning_rte", "5:1: learning_rate", "6:1: sequence_len"):
        assert f"{bad}:{place}" in shown.err
    assert shown.err.count("    fix: ") == 3
    assert "did you mean 'learning_rate'?" in shown.err
    assert shown.err.rstrip().endswith("3 problems in the config")


def test_a_wrong_override_is_blamed_on_the_command_line(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", good, "--set", "sequence_len=zero", "--set", "nonsense"]) == 2
    shown = capsys.readouterr().err
    assert "--set: sequence_len: must be a valid integer" in shown
    assert "'nonsense' is not of the form key=value" in shown


def test_json_of_a_good_config_is_the_resolved_config(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", good, "--json", "--set", "lr_scheduler=linear"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["config"]["lr_scheduler"] == "linear"
    assert answer["config"]["learning_rate"] == 1e-4
    assert answer["config"]["datasets"][0]["path"] == "train.jsonl"


def test_json_of_a_bad_config_holds_every_issue(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", bad, "--json"]) == 2
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert answer["ok"] is False
    found = [(issue["key"], issue["code"], issue["file"], issue["line"]) for issue in answer["issues"]]
    assert found == [
        ("learning_rte", "unknown_key", bad, 4),
        ("learning_rate", "wrong_value", bad, 5),
        ("sequence_len", "wrong_value", bad, 6),
    ]
    assert all(issue["fix"] and issue["message"] for issue in answer["issues"])
    assert shown.err == ""


def test_no_model_data_or_terminal_library_is_imported(bad: str) -> None:
    code = "import sys; from sft_cli.main import main; main(['validate', sys.argv[1]])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, bad], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pydantic" in loaded
    assert not loaded & {"torch", "transformers", "datasets", "pyarrow", "numpy", "rich", "jinja2", "sft_data"}


def test_hostile_values_reach_the_terminal_as_visible_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD + 'attn_implementation: "\\e[2Jsd\\u202epa"\n')
    assert main(["validate", str(path)]) == 2
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_keys_of_other_systems_that_make_no_difference_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "axolotl.yaml"
    path.write_text(GOOD + "remove_unused_columns: false\n")
    assert main(["validate", str(path)]) == 0
    shown = capsys.readouterr()
    assert f"    note      {path}:5: remove_unused_columns: false (axolotl), not needed here: columns" in shown.out
    assert main(["validate", str(path), "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert (note["key"], note["line"]) == ("remove_unused_columns", 5)


def test_other_commands_note_them_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "axolotl.yaml"
    path.write_text(GOOD + "remove_unused_columns: false\n")
    assert main(["preprocess", str(path)]) == 2  # there is no such data set
    shown = capsys.readouterr()
    assert shown.err.startswith(f"note: {path}:5: remove_unused_columns: false (axolotl), not needed here")


def test_env_lets_variables_stand_in_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD.replace("some/model", "${SFT_TEST_MODEL}"))
    monkeypatch.setenv("SFT_TEST_MODEL", "other/model")
    assert main(["validate", str(path), "--env", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["base_model"] == "other/model"
    assert main(["validate", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["base_model"] == "${SFT_TEST_MODEL}"
    monkeypatch.delenv("SFT_TEST_MODEL")
    assert main(["validate", str(path), "--env"]) == 2
    assert "SFT_TEST_MODEL is not set" in capsys.readouterr().err
