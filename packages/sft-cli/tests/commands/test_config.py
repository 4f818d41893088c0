from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sft_cli.commands.config import command
from sft_cli.main import main
from sft_schema import load_config, parse_config

FITS = "base_model: m\ndatasets: [{path: a.jsonl}]\nlearning_rate: 1e-4\nsequence_len: 512\nsdp_attention: true\n"
FALLS_SHORT = f'{FITS}comet_experiment_config: zero2.json\nhub_revision: "a\\e[31mb"\n'


@pytest.fixture
def axolotl(tmp_path: Path) -> Path:
    path = tmp_path / "axolotl.yaml"
    path.write_text(FITS)
    return path


def test_the_new_config_goes_to_standard_output_and_the_lists_to_standard_error(
    axolotl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "import", str(axolotl)]) == 0
    shown = capsys.readouterr()
    assert parse_config(shown.out).sequence_len == 512
    assert shown.err.startswith(f"{axolotl}: a config for axolotl (only axolotl has base_model")
    assert "     5  sdp_attention: true -> attn_implementation: sdpa\n" in shown.err
    assert "     -  excess_length_strategy: drop  (the default of axolotl; ours is another)\n" in shown.err
    assert shown.err.endswith("not carried over: nothing\n")


def test_what_could_not_be_carried_over_is_listed_and_is_exit_code_2(
    axolotl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axolotl.write_text(FALLS_SHORT)
    assert main(["config", "import", str(axolotl)]) == 2
    shown = capsys.readouterr()
    parse_config(shown.out)
    assert "# comet_experiment_config: zero2.json  (line 6)" in shown.out
    assert "not carried over: 2\n     6  comet_experiment_config: zero2.json: Comet's finer settings" in shown.err
    assert "            fix: remove it and set Comet" in shown.err
    assert "\x1b" not in shown.out + shown.err


def test_out_writes_a_file_that_trains(axolotl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new.yaml"
    assert main(["config", "import", str(axolotl), "--from", "axolotl", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith(f"written to {out}\n")
    assert load_config(out).attn_implementation == "sdpa"
    assert main(["config", "import", str(axolotl), "--out", str(out)]) == 2
    assert f"{out} exists" in capsys.readouterr().err


def test_json_holds_the_text_and_both_lists(axolotl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axolotl.write_text(f"{FALLS_SHORT}weight_decay: .inf\n")
    assert main(["config", "import", str(axolotl), "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.err == ""
    found = json.loads(shown.out, parse_constant=pytest.fail)
    assert (found["source"], found["changed"][0]["after"]) == ("axolotl", "attn_implementation: sdpa")
    assert [each["key"] for each in found["unsupported"]] == ["comet_experiment_config", "hub_revision", "weight_decay"]
    assert (found["unsupported"][0]["value"], found["unsupported"][2]["value"]) == ("zero2.json", ".inf")
    parse_config(found["text"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_train_epochs: 3\n", "its keys do not tell whether it is for axolotl, TRL or LLaMA-Factory"),
        ("a: [", "not valid YAML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(
    axolotl: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    axolotl.unlink() if text is None else axolotl.write_text(text)
    assert main(["config", "import", str(axolotl)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert "fix: " in shown.err


def test_the_options_are_frozen() -> None:
    context = click.Context(command)
    assert command.list_commands(context) == ["import"]
    chosen = command.get_command(context, "import")
    assert chosen is not None
    options = sorted(option for parameter in chosen.params for option in parameter.opts)
    assert options == ["--debug", "--from", "--json", "--out", "file"]


def test_no_model_data_or_terminal_library_is_imported(axolotl: Path) -> None:
    code = "import sys; from sft_cli.main import main; main(['config', 'import', sys.argv[1]])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(axolotl)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pydantic" in loaded
    assert not loaded & {"torch", "transformers", "datasets", "pyarrow", "numpy", "rich", "sft_data"}
