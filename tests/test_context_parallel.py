"""Whole runs of processes that share packed rows give the losses and the weights of one process."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sft_schema import load_config
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
KINDS = {"full": (), "lora": ("adapter=lora", "lora_target_linear=true", "lora_r=4", "lora_alpha=8")}
RUN = """\
from sft_train.run import run
run(load_config({config!r}, {overrides!r}))
"""

PROOF = """\
from accelerate import PartialState
from transformers import AutoModelForCausalLM, TrainingArguments
from sft_kernels.transformers import register_attention
from sft_schema import ConfigError
from sft_train.context import check_shared_rows, context_mesh
from sft_train.loss import forward_call
from dataclasses import replace

cfg = load_config({config!r}, ("context_parallel_size=2",))
state = PartialState(cpu=True)
mesh = context_mesh(cfg, TrainingArguments({folder!r}, use_cpu=True))
model = AutoModelForCausalLM.from_pretrained({model!r})
model.set_attn_implementation(register_attention())
call = replace(forward_call(model, "sft_varlen"), context=mesh.way())
check_shared_rows(model, cfg, call, mesh)
model.model.layers[1].mlp.register_forward_hook(lambda _, __, output: output + output.roll(1, 1))
try:
    check_shared_rows(model, cfg, call, mesh)
    raise SystemExit(3)
except ConfigError as refused:
    assert "where 2 processes share a row: outputs differ by 0." in str(refused), refused
state.destroy_process_group()
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


def codes(processes: int, body: str) -> list[str]:
    """What each process runs, after the variables that torchrun would give it are set."""
    port = str(free_port())
    found = []
    for rank in range(processes):
        variables = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        variables |= {"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        found.append(f"import os\nos.environ.update({variables!r})\nfrom sft_schema import load_config\n{body}")
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
        torch.testing.assert_close(
            each, expected[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Path]:
    """Runs of one process."""
    outs = {}
    for kind, given in KINDS.items():
        outs[kind] = folder / f"alone_{kind}"
        run(load_config(folder / "config.yaml", [*given, f"output_dir={outs[kind]}"]))
        assert len(metrics(outs[kind], "loss")) == 3
        assert len(metrics(outs[kind], "eval_loss")) >= 2
    return outs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("full", "ring of 2"),
        ("full", "two rings of 2"),
        ("full", "ulysses of 2"),
        ("lora", "ring of 2"),
        ("lora", "two rings of 2"),
    ],
)
def test_processes_that_share_rows_train_as_one_does(
    alone: dict[str, Path], folder: Path, tmp_path: Path, forks: Any, kind: str, layout: str
) -> None:
    processes = 4 if layout == "two rings of 2" else 2
    extra = (
        f"output_dir={tmp_path / 'out'}",
        "context_parallel_size=2",
        f"context_parallel_method={'ulysses' if 'ulysses' in layout else 'ring'}",
        f"gradient_accumulation_steps={8 // processes}",
    )
    forks.run(*codes(processes, RUN.format(config=str(folder / "config.yaml"), overrides=(*KINDS[kind], *extra))))
    assert_same(tmp_path / "out", alone[kind])


def test_a_model_that_mixes_tokens_outside_of_attention_is_refused(folder: Path, forks: Any) -> None:
    """The first trial is of a plain Llama, which may share rows."""
    names = {"config": str(folder / "config.yaml"), "folder": str(folder / "unused"), "model": str(folder / "model")}
    forks.run(*codes(2, PROOF.format(**names)))
