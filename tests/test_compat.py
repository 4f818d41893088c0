"""Configs of other systems, end to end: the report over a folder, the installed transformers, and the page on it."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from transformers import TrainingArguments

from sft_schema.foreign import SYSTEMS, Rewrite, System

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "compat" / "axolotl.py"
CONFIGS = ROOT / "packages" / "sft-schema" / "tests" / "configs" / "axolotl"
PAGE = ROOT / "docs" / "coming-from-other-systems.md"


def report(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)


def test_the_report_lists_what_loads_and_why_the_rest_does_not() -> None:
    done = report(CONFIGS, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["counts"] == {"loaded": 1, "refused": 2, "failed": 0, "not_sft": 0}
    assert found["loaded"] == ["lora-chat.yaml"]
    reasons = {entry["file"]: entry["reasons"] for entry in found["refused"]}
    (misspelt,) = reasons["full-fsdp.yml"]["context_parapllel_size"]
    assert misspelt["line"] == 20
    assert misspelt["fix"].startswith("did you mean 'context_parallel_size'?")
    assert "fsdp_config.reshard_after_foward" in reasons["full-fsdp.yml"]
    assert all(each["reason"] and each["fix"] for keys in reasons.values() for said in keys.values() for each in said)


def test_the_report_for_people_ends_with_the_most_frequent_reasons() -> None:
    done = report(CONFIGS)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "loaded   lora-chat.yaml" in lines
    assert "refused  qlora-alpaca.yaml" in lines
    assert any(line.startswith("    1  datasets[].type: sharegpt, ") for line in lines)
    assert lines[-1] == "1 loaded, 2 refused (0 of them are not about SFT), 0 failed"


def test_what_is_not_about_sft_is_marked(tmp_path: Path) -> None:
    for name, line in (("dpo", "rl: dpo"), ("qlora", "adapter: qlora"), ("classifier", "num_labels: 1")):
        (tmp_path / f"{name}.yaml").write_text(f"base_model: m\nlearning_rate: 1e-4\ndatasets: [{{path: a}}]\n{line}\n")
    found = json.loads(report(tmp_path, "--json").stdout)
    marked = {entry["file"]: entry["sft"] for entry in found["refused"]}
    assert (marked["dpo.yaml"], marked["classifier.yaml"]) == (False, False)
    assert marked.get("qlora.yaml", True)
    assert found["counts"]["not_sft"] == 2


def test_a_file_that_is_no_yaml_mapping_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "broken.yml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "notes.txt").write_text("not looked at")
    done = report(tmp_path, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [entry["file"] for entry in found["failed"]] == ["deep/broken.yml", "list.yaml"]
    assert "not valid YAML" in found["failed"][0]["error"]
    assert report(tmp_path / "gone").returncode == 2


@pytest.mark.parametrize("system", ["trl", "llamafactory"])
def test_every_training_argument_of_transformers_has_a_row(system: System) -> None:
    names = {field.name for field in fields(TrainingArguments) if field.init and not field.name.startswith("_")}
    assert names - SYSTEMS[system].rows.keys() == set()


def test_the_page_says_what_the_tables_say() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (\w[\w -]*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) >= 25
    named: dict[str, System] = {"axolotl": "axolotl", "TRL": "trl", "LLaMA-Factory": "llamafactory"}
    for theirs, ours, system in rows:
        key, _, text = theirs.partition(": ")
        value = {"true": True, "false": False, "1": 1, "-1": -1, "all": "all", "4": 4, "": "x"}.get(text, text)
        answer = SYSTEMS[named[system]].answer(key, value)
        assert isinstance(answer, Rewrite), theirs
        assert ours.partition(": ")[0] in answer.settings, theirs
