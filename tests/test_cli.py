"""The `sft` command end to end, as a process on real data with a tiny model."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart"
SFT = Path(sys.executable).with_name("sft")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("CI", "FORCE_COLOR")}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "60"}

HOSTILE = {
    "messages": [
        {"role": "user", "content": "\u0000\u001b[2J </style><script>alert(1)</script> \u202e שלום 🙂🙃"},
        {"role": "assistant", "content": '"quoted"\n\n  \ttab & <b> 数学 \u2028'},
    ]
}
MISTAKES = "base_model: m\ndatasets: [{path: d.jsonl}]\nlearning_rte: 1\nlearning_rate: fast\nsequence_len: 1\n"


def sft(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(SFT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=600, check=False)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored, and the programs started here would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of forty training rows, one of them hostile, and eight held-out ones."""
    folder = tmp_path_factory.mktemp("cli")
    for name, count in (("train", 39), ("heldout", 8)):
        with (QUICKSTART / f"{name}.jsonl").open(encoding="utf-8") as file:
            (folder / f"{name}.jsonl").write_text("".join(islice(file, count)), encoding="utf-8")
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(HOSTILE) + "\n")
    settings: dict[str, Any] = {
        "base_model": str(QUICKSTART / "base"),
        "reinit_weights": True,
        "datasets": [{"path": str(folder / "train.jsonl")}],
        "test_datasets": [{"path": str(folder / "heldout.jsonl")}],
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "out"),
        "sequence_len": 256,
        "sample_packing": True,
        "learning_rate": 1e-3,
        "max_steps": 4,
        "do_causal_lm_eval": True,
        "eval_max_new_tokens": 4,
    }
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> Path:
    return folder / "config.yaml"


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def inspected(config: Path) -> list[dict[str, Any]]:
    done = sft("inspect", config, "--count", "1000", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_validate_shows_three_mistakes_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(MISTAKES)
    done = sft("validate", tmp_path / "bad.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.findall(r"bad\.yaml:(\d+):1: (\w+)", done.stderr) == [
        ("3", "learning_rte"),
        ("4", "learning_rate"),
        ("5", "sequence_len"),
    ]


def test_preprocess_accounts_for_every_row(config: Path, folder: Path) -> None:
    done = sft("preprocess", config)
    assert done.returncode == 0, done.stderr
    numbers = dict(re.findall(r"^([^\d\n]+?) {2,}([\d,]+)", done.stdout, re.MULTILINE))
    assert (numbers["rows read"], numbers["samples kept"]) == ("40", "40")
    assert re.search(r"\d+ rows of up to 256 tokens, \d+\.\d% full", done.stdout)
    stored = re.search(r"stored in: +(\S+)", done.stdout)
    assert stored
    assert (Path(stored[1]) / "manifest.json").is_file()
    assert (Path(stored[1]) / "quarantine.jsonl").is_file()


def test_preprocess_prints_clean_json(config: Path, folder: Path) -> None:
    done = sft("preprocess", config, "--json", "--set", "sequence_len=64", "--set", "excess_length_strategy=drop")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    train = answer["manifest"]["splits"]["train"]
    assert train["rows_in"] == 40 == train["rows_out"] + sum(train["dropped"].values())
    assert train["dropped"], "some rows are longer than 64 tokens"
    assert answer["packing"]["samples"] == train["rows_out"]
    assert answer["packing"]["tokens"] == train["tokens"]
    quarantined = Path(answer["quarantine"]).read_text(encoding="utf-8").splitlines()
    assert len(quarantined) == sum(sum(each["dropped"].values()) for each in answer["manifest"]["splits"].values())
    Path(answer["quarantine"]).unlink()  # a copy from the hub comes without it
    again = sft("preprocess", config, "--json", "--set", "sequence_len=64", "--set", "excess_length_strategy=drop")
    assert json.loads(again.stdout) == answer | {"quarantine": None}


def test_bad_data_ends_with_2_and_names_the_place(config: Path) -> None:
    done = sft("preprocess", config, "--set", "datasets.0.path=no/such.jsonl", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no/such.jsonl" in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_ends_with_1_and_a_fix(config: Path) -> None:
    arguments = ("preprocess", config, "--set", "dataset_prepared_path=/dev/null/prepared")
    done = sft(*arguments)
    assert done.returncode == 1
    assert "/dev/null/prepared" in done.stderr
    assert "fix: check the path" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback (most recent call last)" in sft(*arguments, "--debug").stderr


def test_inspect_gives_every_sample_once(inspected: list[dict[str, Any]], folder: Path) -> None:
    origins = sorted(origin["row"] for row in inspected for origin in row["origins"])
    assert origins == list(range(40))
    assert [row["row"] for row in inspected] == list(range(len(inspected)))
    assert all(len(row["tokens"]) <= 256 for row in inspected)


def test_inspect_shows_the_rendered_text_and_trains_the_answers_alone(
    inspected: list[dict[str, Any]], folder: Path
) -> None:
    rows = rows_of(folder)
    for row in inspected:
        for sample, group in groupby(row["tokens"], key=lambda token: token["sample"]):
            tokens = list(group)
            messages = rows[row["origins"][sample]["row"]]["messages"]
            rendered = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in messages)
            assert "".join(token["text"] for token in tokens) == rendered
            answers = "".join(f"{each['content']}<|im_end|>" for each in messages if each["role"] == "assistant")
            assert "".join(token["text"] for token in tokens if token["trained"]) == answers


def test_inspect_says_message_role_and_field_of_a_token(inspected: list[dict[str, Any]]) -> None:
    tokens = inspected[0]["tokens"]
    assert set(tokens[0]) == {"id", "text", "trained", "message", "role", "field", "sample", "weight", "reason"}
    for token in tokens:
        if token["trained"]:
            assert token["role"] == "assistant"
            assert token["field"] in ("content", "end_of_turn")
        if token["message"] is None:
            assert (token["role"], token["field"]) == (None, "template")


def test_inspect_as_text_is_safe_and_not_wrapped(config: Path) -> None:
    done = sft("inspect", config, "--count", "1000")
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout) & set("\x00\x1b\u202e\u2028\r\t")
    text = done.stdout.replace("⋯", "")  # one character of these takes several tokens
    assert "␀␛[2J </style><script>alert(1)</script> ⟨U+202E⟩ שלום 🙂🙃" in text
    assert '⟦"quoted"⏎\n⏎\n  ␉tab & <b> 数学 ⟨U+2028⟩<|im_end|>⟧⏎\n' in text


def test_inspect_shows_the_row_that_was_asked_for(config: Path, inspected: list[dict[str, Any]]) -> None:
    done = sft("inspect", config, "--row", "1", "--json")
    assert json.loads(done.stdout) == [inspected[1]]
    beyond = sft("inspect", config, "--row", str(len(inspected)))
    assert beyond.returncode == 2
    assert f"rows 0 to {len(inspected) - 1}" in beyond.stderr


@pytest.mark.slow
def test_train_leaves_a_model_an_outcome_and_a_report(config: Path, folder: Path) -> None:
    done = sft("train", config)
    assert done.returncode == 0, done.stderr
    out = folder / "out"
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["steps"] == 4
    assert "step 4/4  loss" in done.stderr
    assert "Traceback" not in done.stderr
    outcome = ("Exact match", "Held-out loss", "wanted  ", "before  ", "after   ", "health  nothing unusual")
    for text in (*outcome, str(out / "report.html"), f"chat    sft inference {out}"):
        assert text in done.stdout
    report = (out / "report.html").read_text(encoding="utf-8")
    assert f"{summary['eval_loss_after']:.4f}" in report
    assert "<script" not in report
    assert "default-src &#39;none&#39;" in report or "default-src 'none'" in report


@pytest.mark.slow
def test_what_is_wrong_with_a_run_is_shown_at_once_at_the_end_and_in_the_report(config: Path, folder: Path) -> None:
    short = ("--set", "do_causal_lm_eval=false", "--set", "test_datasets=[]", "--set", "learning_rate=2")
    done = sft("train", config, *short, "--set", f"output_dir={folder / 'sick'}")
    assert done.returncode == 0, done.stderr
    assert "health: the loss is " in done.stderr
    assert done.stderr.index("health: the loss is ") < done.stderr.index("step 4/4")
    assert re.search(r"health  step 3: the loss is .* training has diverged\n {8}lower `learning_rate`", done.stdout)
    report = (folder / "sick" / "report.html").read_text(encoding="utf-8")
    assert "training has diverged" in report
    assert '<a href="#health">' in report


@pytest.mark.slow
def test_the_last_line_of_train_uses_the_model_and_an_adapter_on_it(config: Path, folder: Path) -> None:
    short = ("--set", "max_steps=1", "--set", "do_causal_lm_eval=false", "--set", "test_datasets=[]")
    model, adapter = folder / "model", folder / "adapter"
    trained = sft("train", config, *short, "--set", f"output_dir={model}")
    lora = (f"base_model={model}", "reinit_weights=false", "adapter=lora", "lora_target_linear=true")
    settings = [word for each in lora for word in ("--set", each)]
    adapted = sft("train", config, *short, *settings, "--set", f"output_dir={adapter}")
    assert (adapter / "adapter_model.safetensors").is_file(), adapted.stderr
    for done in (trained, adapted):
        command = re.search(r"^try it  python (.*)$", done.stdout, re.MULTILINE)
        assert command, done.stderr
        words = [sys.executable, *shlex.split(command[1])]
        used = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)
        assert used.returncode == 0, used.stderr
        assert used.stdout
    merged = folder / "merged"
    done = sft("merge", adapter, "--out", merged, "--verify", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["verification"]["same"] is True
    assert answer["changed"] == sum("lora_A" in name for name in load_file(adapter / "adapter_model.safetensors"))
    assert load_file(merged / "model.safetensors").keys() == load_file(model / "model.safetensors").keys()


@pytest.mark.slow
def test_a_stopped_run_says_how_to_go_on_and_that_works(config: Path, folder: Path) -> None:
    steps = ["save_strategy=steps", "save_steps=1", "max_steps=200", f"output_dir={folder / 'halted'}"]
    steps += ["do_causal_lm_eval=false", "test_datasets=[]", "logging_steps=1"]
    command = [str(SFT), "train", str(config), *(word for step in steps for word in ("--set", step))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if re.match(r"step \d+/200  loss", line):
                break
        process.send_signal(signal.SIGINT)
        said.append(process.stderr.read())
    assert process.returncode == 130
    advice = re.search(r"stopped\. Go on .* with:\n +sft (train .*)", "".join(said))
    assert advice, "".join(said)
    again = [str(SFT), *shlex.split(advice[1])]
    with subprocess.Popen(again, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if "were done before" in line or "starting anew" in line)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert re.match(r"\d+ of 200 steps were done before", first)


def test_ctrl_c_in_preprocess_ends_with_130_and_leaves_nothing_half_written(config: Path, folder: Path) -> None:
    many = folder / "many.jsonl"
    many.write_text((folder / "train.jsonl").read_text(encoding="utf-8") * 500, encoding="utf-8")
    prepared = folder / "stopped-prepared"
    settings = [f"datasets.0.path={many}", f"dataset_prepared_path={prepared}"]
    command = [str(SFT), "preprocess", str(config), *(word for each in settings for word in ("--set", each))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        assert next(process.stderr) == f"preparing {many}\n"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "run the same command again" in rest
    assert not list(prepared.glob("*/manifest.json"))


def test_a_run_out_of_time_ends_with_a_code_of_its_own_and_the_command_to_go_on(
    config: Path, tmp_path: Path, forks: Any
) -> None:
    out = tmp_path / "out"
    arguments = ["train", str(config), "--set", f"output_dir={out}", "--set", "max_minutes=1e-6"]
    forks.start(f"import sys\nfrom sft_cli.main import main\nsys.exit(main({arguments}))")
    assert forks.wait() == [75], forks.output()
    assert "max_minutes (1e-06) are over" in forks.output()
    (command,) = (line.strip() for line in forks.output().splitlines() if line.strip().startswith("sft train"))
    assert command.endswith("--set resume_from_checkpoint=true")
    assert [each.name for each in out.glob("checkpoint-*")] == ["checkpoint-1"]
