"""`sft init` by flags; tests/test_terminal.py has it answered by keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sft_cli.main import main

HEAVY = {"torch", "transformers", "datasets", "pyarrow", "numpy", "rich", "jinja2"}


@pytest.fixture
def data(tmp_path: Path) -> str:
    row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    (tmp_path / "chats.jsonl").write_text((json.dumps(row) + "\n") * 3)
    return str(tmp_path / "chats.jsonl")


def flags(data: str) -> list[str]:
    return ["--data", data, "--model", "Qwen/Qwen3-0.6B", "--hardware", "24GB"]


def test_the_file_is_commented_and_validates(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    assert main(["init", str(file), *flags(data)]) == 0
    said = capsys.readouterr().out
    assert f"wrote     {file}" in said
    assert f"sft preprocess {file}" in said
    text = file.read_text()
    assert "# Method: LoRA, the usual choice for a model of 0.6B on 1 GPU of 24 GB" in text
    assert main(["validate", str(file)]) == 0
    assert "advice" not in capsys.readouterr().out


def test_json_holds_text_settings_and_reasons(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-", *flags(data), "--json", "--method", "full"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["file"], answer["method"], answer["hardware"]) == (None, "full", "1 GPU of 24 GB")
    settings = {each["key"]: each for each in answer["settings"]}
    assert settings["learning_rate"]["value"] == 2e-5
    assert settings["learning_rate"]["why"].startswith("usually 1e-5 to 5e-5")
    assert "adapter" not in settings
    assert main(["init", "-", *flags(data), "--method", "full"]) == 0
    assert capsys.readouterr().out == answer["text"]


def test_an_existing_file_is_kept_unless_forced(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("mine")
    assert main(["init", str(file), *flags(data)]) == 2
    assert file.read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert main(["init", str(file), *flags(data), "--force"]) == 0
    assert "base_model" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "m"], "--data must be given"),
        (["--data", "no/such.jsonl", "--model", "m"], "no/such.jsonl"),
        (["--data", "x", "--model", "m", "--hardware", "fast"], "8x80GB"),
        (["--data", "x", "--model", "m", "--size", "0"], "--size"),
    ],
)
def test_what_is_wrong_ends_with_2_and_writes_nothing(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "c.yaml"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "c.yaml").exists()


def test_data_of_json_lines_are_looked_at_without_heavy_libraries(data: str) -> None:
    code = "import sys; from sft_cli.main import main; main(['init', '-', *sys.argv[1:]])\nprint(*sys.modules)"
    command = [sys.executable, "-c", code, *flags(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "pydantic" in loaded
    assert not loaded & HEAVY
