"""Whole runs of processes that share packed rows give the losses and the weights of one process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sft_schema import ConfigError, load_config
from sft_train.run import run
from sft_train.testing import tiny_model, write_conversations

torch.set_num_threads(1)

SETTINGS = """\
base_model: {folder}/model
datasets: [{{path: {folder}/train.jsonl}}]
test_datasets: [{{path: {folder}/held_out.jsonl}}]
dataset_prepared_path: {folder}/prepared
sequence_len: 256
sample_packing: true
attn_implementation: sft_varlen
learning_rate: 0.01
max_steps: 3
logging_steps: 1
gradient_accumulation_steps: 4
"""
LORA = ("adapter=lora", "lora_target_linear=true", "lora_r=4", "lora_alpha=8")
CODE = """\
import os
os.environ.update({variables!r})
from sft_schema import load_config
from sft_train.run import run
run(load_config({config!r}, {overrides!r}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    tiny_model(folder / "model")
    write_conversations(folder / "train.jsonl", 40, seed=3)
    write_conversations(folder / "held_out.jsonl", 7, seed=4)
    (folder / "config.yaml").write_text(SETTINGS.format(folder=folder))
    return folder


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def codes(folder: Path, processes: int, *overrides: str) -> list[str]:
    """What each process runs, with the variables that torchrun gives it."""
    port = str(free_port())
    found = []
    for rank in range(processes):
        variables = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        variables |= {"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        found.append(CODE.format(variables=variables, config=str(folder / "config.yaml"), overrides=overrides))
    return found


def metrics(out: Path, name: str) -> list[float]:
    lines = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if name in line]


def assert_same(out: Path, wanted: Path) -> None:
    """The same losses, held-out losses, tokens and weights."""
    for name in ("loss", "eval_loss"):
        assert metrics(out, name) == pytest.approx(metrics(wanted, name), rel=1e-5), name
    summary, other = (json.loads((each / "summary.json").read_text()) for each in (out, wanted))
    assert (summary["tokens"], summary["trained_tokens"]) == (other["tokens"], other["trained_tokens"])
    (weights,) = out.glob("*model.safetensors")
    expected = load_file(wanted / weights.name)
    for name, each in load_file(weights).items():
        torch.testing.assert_close(each, expected[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module", params=["full", "lora"])
def alone(request: pytest.FixtureRequest, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """A run of one process, and its overrides."""
    given = LORA if request.param == "lora" else ()
    out = folder / f"alone_{request.param}"
    run(load_config(folder / "config.yaml", [*given, f"output_dir={out}"]))
    assert len(metrics(out, "loss")) == 3
    assert len(metrics(out, "eval_loss")) >= 2
    return out, given


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["ring of 2", "two rings of 2", "ulysses of 2"])
def test_processes_that_share_rows_train_as_one_does(
    alone: tuple[Path, tuple[str, ...]], folder: Path, tmp_path: Path, forks: Any, layout: str
) -> None:
    wanted, given = alone
    processes = 4 if layout == "two rings of 2" else 2
    if layout == "ulysses of 2" and given:
        pytest.skip("the method changes attention alone, which the full run has shown")
    extra = (
        f"output_dir={tmp_path / 'out'}",
        "context_parallel_size=2",
        f"context_parallel_method={'ulysses' if 'ulysses' in layout else 'ring'}",
        f"gradient_accumulation_steps={8 // processes}",
    )
    forks.run(*codes(folder, processes, *given, *extra))
    assert_same(tmp_path / "out", wanted)
