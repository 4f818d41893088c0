"""The README's quickstart does what the README says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).parents[1]
SFT = Path(sys.executable).with_name("sft")
CONFIG = "examples/quickstart.yaml"


def sft(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([SFT, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    overrides = (f"output_dir={folder / 'out'}", f"dataset_prepared_path={folder / 'prepared'}")
    done = sft("train", CONFIG, *(word for each in overrides for word in ("--set", each)))
    assert "Exact match" in done.stdout
    return folder / "out"


@pytest.mark.slow
def test_the_model_learns_the_held_out_questions(output: Path) -> None:
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert summary["exact_match_before"] <= 0.1
    assert summary["exact_match_after"] >= 0.9
    assert summary["train_loss_last"] < summary["train_loss_first"]
    assert summary["tokens"] > summary["trained_tokens"] > 0
    assert summary["seconds"] > 0
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")


@pytest.mark.slow
def test_the_saved_model_answers_in_the_chat_format(output: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(output), AutoModelForCausalLM.from_pretrained(output)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of Japan?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True) == "Tokyo"


def test_inspect_shows_that_answers_and_their_ends_are_trained_and_nothing_else(tmp_path: Path) -> None:
    done = sft("inspect", CONFIG, "--json", "--set", f"dataset_prepared_path={tmp_path}")
    rows = json.loads(done.stdout)
    rows = rows if isinstance(rows, list) else rows["rows"]
    tokens = rows[0]["tokens"]
    assert {"id", "text", "trained", "message", "role", "field"} <= tokens[0].keys()
    trained = {(token["role"], token["field"]) for token in tokens if token["trained"]}
    assert trained == {("assistant", "content"), ("assistant", "end_of_turn")}
    masked = [token for token in tokens if not token["trained"]]
    assert not [
        token for token in masked if token["role"] == "assistant" and token["field"] in ("content", "end_of_turn")
    ]
