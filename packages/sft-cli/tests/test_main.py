from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sft_cli.main import COMMANDS, cli, main

LOOKED_AT = ("--data", "--hardware", "--method", "--model", "--size", "--test-data")
ASKED = (
    *("--batch-size", "--input", "--max-new-tokens", "--out", "--port"),
    *("--prompt", "--system", "--temperature", "--top-p", "--web"),
)
HEAVY = ["torch", "transformers", "datasets", "pyarrow", "rich", "pydantic", "numpy", "jinja2", "yaml"]


def modules_after(*arguments: str) -> set[str]:
    code = "import json, sys; from sft_cli.main import main; main(sys.argv[1:])\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_lists_every_command_without_importing_anything_heavy() -> None:
    assert not modules_after("--help") & set(HEAVY)


def test_help_of_every_command_imports_nothing_heavy() -> None:
    for name in COMMANDS:
        assert not modules_after(name, "--help") & set(HEAVY), name


def test_help_shows_the_commands_in_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n  {name}") for name in ("validate", "preprocess", "inspect", "train")]
    assert places == sorted(places)
    assert all(line in text for line in COMMANDS.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example_that_uses_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example:\n    sft {name}" in text


MACHINES = ("--device", "--gpus", "--nodes", "--sharding", "--tensor", "--context", "--sample-len")


def test_the_surface_is_frozen() -> None:
    context = click.Context(cli)
    surface = {}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        surface[name] = sorted(option for parameter in command.params for option in parameter.opts)
    shared = ["--debug", "--env", "--set", "config"]
    assert surface == {
        "init": sorted([*LOOKED_AT, "--debug", "--force", "--json", "config"]),
        "validate": sorted(["--json", *shared]),
        "preprocess": sorted(["--json", *shared]),
        "inspect": sorted(["--count", "--json", "--row", *shared]),
        "estimate": sorted(["--json", *MACHINES, *shared]),
        "train": sorted(["--launcher", "launcher_arguments", *shared]),
        "merge": sorted(["--debug", "--json", "--out", "--verify", "source"]),
        "merge-sharded": ["--debug", "--json", "--out", "source"],
        "evaluate": sorted(["--json", "--show", *shared]),
        "compare": ["--debug", "--json", "runs"],
        "inference": sorted([*ASKED, "--debug", "--json", "source"]),
        "fetch": ["--debug", "--json", "--out", "what"],
        "doctor": ["--debug", "--json", "--timeout"],
        "config": [],
        "config-schema": [],
    }


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "sft 0.1.0\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["train"],
        ["train", "a.yaml", "b.yaml"],
        ["validate", "--what", "a.yaml"],
        ["inspect", "a.yaml", "--count", "0"],
        ["inspect", "a.yaml", "--row", "-1"],
        ["merge", "a.yaml"],
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "Error:" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("name", ["validate", "preprocess", "inspect", "train"])
def test_an_absent_config_ends_with_2_and_names_the_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "no/such.yaml"]) == 2
    shown = capsys.readouterr()
    assert "no/such.yaml" in shown.err
    assert "fix:" in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_merging_what_is_not_there_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, said in (("no/such.yaml", "no/such.yaml"), (str(tmp_path), "adapter_config.json is missing")):
        assert main(["merge", source, "--out", str(tmp_path / "out")]) == 2
        shown = capsys.readouterr()
        assert said in shown.err
        assert "fix:" in shown.err
        assert shown.out == ""
    assert not (tmp_path / "out").exists()


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "no/such.yaml", "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.rstrip().endswith("1 problem in the config")


def test_a_pipe_that_is_closed_early_shows_no_traceback(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("base_model: m\nlearning_rate: 1e-4\ndatasets: [{path: d.jsonl}]\n")
    command = f"{sys.executable} -m sft_cli validate {config} --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


def test_the_shell_completes_commands_options_and_choices() -> None:
    for words, wanted in (
        ("sft in", {"init", "inference", "inspect"}),
        ("sft inference --te", {"--temperature"}),
        ("sft init --method ", {"lora", "qlora", "full"}),
    ):
        environment = {"_SFT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        command = [sys.executable, "-c", "from sft_cli.main import cli; cli.main(prog_name='sft')"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
        assert {line.partition(",")[2] for line in done.stdout.splitlines()} == wanted, done.stderr
