"""Whole runs depend on the samples of each step, not on how they are cut into micro batches and over processes.

A single step, in every way that it can be computed, is in test_invariance_table.py.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sft_schema import load_config
from sft_train.run import run
from sft_train.testing import tiny_model, write_conversations

torch.set_num_threads(1)
TOLERANCE = {"rtol": 0.0, "atol": 1e-5}

SETTINGS = """\
base_model: {folder}/model
datasets: [{{path: {folder}/train.jsonl}}]
test_datasets: [{{path: {folder}/heldout.jsonl}}]
dataset_prepared_path: {folder}/prepared
sequence_len: 384
learning_rate: 0.05
optimizer: sgd
lr_scheduler: constant
max_grad_norm: 0
save_strategy: "no"
"""
LORA = ("adapter=lora", "lora_target_linear=true", "lora_r=4")
CUTS = {"1x8": (1, 8), "2x4": (2, 4), "8x1": (8, 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, 21 conversations of very different lengths (so the last step is not full), and a config."""
    folder = tmp_path_factory.mktemp("invariance")
    tiny_model(folder / "model")
    write_conversations(folder / "train.jsonl", 21, seed=3, longest=30)
    write_conversations(folder / "heldout.jsonl", 5, seed=4)
    for name in ("train", "heldout"):
        weigh(folder / f"{name}.jsonl", folder / f"{name}-weighted.jsonl")
    (folder / "config.yaml").write_text(SETTINGS.format(folder=folder))
    return folder


def weigh(source: Path, target: Path) -> None:
    """The same conversations, with weights for the last answers."""
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["messages"][-1]["weight"] = 0.1 + number % 4
    target.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def trained(folder: Path, tmp_path: Path) -> Callable[..., tuple[list[float], dict[str, torch.Tensor]]]:
    """Losses of all steps and final weights of a real run."""

    def train(name: str, *overrides: str) -> tuple[list[float], dict[str, torch.Tensor]]:
        run(load_config(folder / "config.yaml", (f"output_dir={tmp_path / name}", *overrides)))
        return outcome(tmp_path / name)

    return train


def outcome(out: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    (file,) = out.glob("*model.safetensors")
    return [line["loss"] for line in lines if "loss" in line], load_file(file)


def weighted(folder: Path) -> tuple[str, str]:
    """Settings that train and evaluate on the conversations with weights."""
    names = {"datasets": "train-weighted.jsonl", "test_datasets": "heldout-weighted.jsonl"}
    return tuple(f'{key}=[{{"path": "{folder / name}"}}]' for key, name in names.items())  # type: ignore[return-value]


def cut(micro: int, accumulation: int) -> tuple[str, str]:
    return f"micro_batch_size={micro}", f"gradient_accumulation_steps={accumulation}"


def assert_same(found: Any, wanted: Any) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=0, abs=1e-5)
    assert found[1].keys() == wanted[1].keys()
    for name in wanted[1]:
        torch.testing.assert_close(found[1][name], wanted[1][name], **TOLERANCE)


def test_whole_run_does_not_depend_on_the_cut(trained: Any) -> None:
    """Two epochs of 21 rows, 8 a step: the last step of each is not full."""
    found = {name: trained(name, *cut(*each), "num_epochs=2") for name, each in CUTS.items()}
    assert len(found["1x8"][0]) == 6
    for name in ("2x4", "8x1"):
        assert_same(found[name], found["1x8"])


def test_whole_run_with_weights_and_chunks_does_not_depend_on_the_cut(
    folder: Path, tmp_path: Path, trained: Any
) -> None:
    rest = ("num_epochs=1", "chunked_cross_entropy=true", *weighted(folder))
    found = {name: trained(name, *cut(*each), *rest) for name, each in CUTS.items()}
    for name in ("2x4", "8x1"):
        assert_same(found[name], found["1x8"])
    held_out = [json.loads((tmp_path / name / "summary.json").read_text())["eval_loss_after"] for name in CUTS]
    assert held_out == pytest.approx(held_out[:1] * 3, abs=1e-5)
    plain = trained("plain", *cut(1, 8), "num_epochs=1")
    with pytest.raises(AssertionError):
        assert_same(plain, found["1x8"])


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_accumulation(folder: Path, tmp_path: Path, trained: Any) -> None:
    """21 rows, 4 a step: in each epoch's last step the second process has nothing left to train on."""
    rest = ("num_epochs=2", "do_causal_lm_eval=true", "eval_max_new_tokens=4", *LORA, *weighted(folder))
    alone = trained("alone", *cut(1, 4), *rest)
    command = (f"output_dir={tmp_path / 'two'}", *cut(1, 2), *rest)
    together = launch(2, tmp_path, folder / "config.yaml", command)
    assert together.returncode == 0, together.stderr[-3000:]
    assert len(alone[0]) == 12
    assert_same(outcome(tmp_path / "two"), alone)

    one, two = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("alone", "two"))
    for key in ("steps", "epochs", "tokens", "trained_tokens", "exact_match_after"):
        assert two[key] == one[key], key
    assert two["eval_loss_after"] == pytest.approx(one["eval_loss_after"], abs=1e-5)
    assert [each["after"] for each in two["samples"]] == [each["after"] for each in one["samples"]]


def launch(
    processes: int, tmp_path: Path, config: Path, overrides: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """A real `torchrun` of a script that does nothing but call `run`."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, torch\n"
        "from sft_schema import load_config\n"
        "from sft_train.run import run\n"
        "torch.set_num_threads(1)\n"
        "run(load_config(sys.argv[1], sys.argv[2:]))\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    address = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    return subprocess.run(
        [*torchrun, *address, str(script), str(config), *overrides],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
