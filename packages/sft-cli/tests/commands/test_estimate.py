"""`sft estimate`: parts that add up, and shapes that are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sft_cli.main import main

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
CONFIG = "datasets: [{path: x.jsonl}]\nlearning_rate: 1e-4\nsequence_len: 4096\nsample_packing: true\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    file = tmp_path / "run.yaml"
    file.write_text(f"base_model: {tmp_path}\n{CONFIG}")
    return file


def test_the_parts_of_memory_add_up_and_sharding_makes_them_smaller(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    totals: list[float] = []
    for more in ("", "--gpus 8 --sharding optimizer", "--gpus 8 --nodes 4 --sharding weights"):
        assert main(["estimate", str(config), "--json", *more.split()]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["model"]["weights"] == 8030261248
        memory = found["memory"]
        parts = [value for name, value in memory.items() if name not in ("total", "moment")]
        assert memory["total"] == pytest.approx(sum(parts))
        totals.append(memory["total"])
        assert found["step"]["seconds"] > 0
    assert totals[0] > totals[1] > totals[2]


def test_what_does_not_fit_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(config), "--device", "RTX-4090"]) == 0
    assert "GiB of 24 GiB: does not fit" in capsys.readouterr().out
    assert main(["estimate", str(config), "--device", "cpu"]) == 0
    assert "mfu" not in capsys.readouterr().out


def test_gpus_that_cannot_be_shared_out_are_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(config), "--gpus", "6", "--tensor", "4"]) == 2
    assert "6 GPUs cannot be shared out by 4 x 1" in capsys.readouterr().err


def test_a_model_that_is_not_known_is_refused_by_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert main(["estimate", str(config)]) == 2
    assert "gpt2" in capsys.readouterr().err
    (config.parent / "config.json").unlink()
    assert main(["estimate", str(config)]) == 2
    assert "config.json" in capsys.readouterr().err
