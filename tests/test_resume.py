"""A run that is killed and resumed is the run that was not: the same losses, to the last bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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
test_datasets: [{{path: {folder}/heldout.jsonl}}]
dataset_prepared_path: {folder}/prepared
sequence_len: 256
sample_packing: true
gradient_accumulation_steps: 2
num_epochs: 3
learning_rate: 5e-3
warmup_steps: 2
save_strategy: steps
save_steps: 4
save_total_limit: 2
eval_strategy: steps
eval_steps: 3
"""
STEPS_PER_EPOCH = 6
MODES = {
    "full": (),
    "lora with dropout": ("adapter=lora", "lora_target_linear=true", "lora_dropout=0.2"),
}

# The process ends itself with SIGKILL, which runs no handler: after a step, or half-way through a file.
SCRIPT = """\
import os, pathlib, signal, sys
import torch
from sft_schema import load_config
from sft_train.observer import Silent
from sft_train.run import run

torch.set_num_threads(1)
step, file = int(sys.argv[2]), sys.argv[3]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Killer(Silent):
    def logged(self, at, metrics):
        if not file and at == step and "loss" in metrics:
            die()

whole = torch.save
def half(what, path, *args, **kwargs):
    whole(what, path, *args, **kwargs)
    target = pathlib.Path(path)
    if file and target.name == file and target.parent.name == f".unfinished-checkpoint-{step}":
        target.write_bytes(target.read_bytes()[:target.stat().st_size // 2])
        die()
torch.save = half

run(load_config(sys.argv[1], sys.argv[4:]), Killer())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    tiny_model(folder / "model")
    write_conversations(folder / "train.jsonl", 28, seed=6)
    write_conversations(folder / "heldout.jsonl", 4, seed=7)
    (folder / "config.yaml").write_text(SETTINGS.format(folder=folder))
    (folder / "killed.py").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> dict[str, Path]:
    """Output folders of runs that nobody killed."""
    for number, settings in enumerate(MODES.values()):
        run(load_config(folder / "config.yaml", (f"output_dir={folder / f'whole{number}'}", *settings)))
    return {mode: folder / f"whole{number}" for number, mode in enumerate(MODES)}


class Listener:
    """Keeps what a run says of its stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.begun: tuple[int, int] | None = None

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def prepared(self, manifest: Any, plan: Any) -> None:
        self.rows = len(plan)

    def started(self, steps: int, done: int) -> None:
        self.begun = (steps, done)

    def logged(self, step: int, metrics: dict[str, float]) -> None:
        pass

    def finished(self, summary: Any) -> None:
        self.summary = summary


def start_and_die(folder: Path, out: Path, step: int, file: str, settings: tuple[str, ...]) -> None:
    command = [sys.executable, str(folder / "killed.py"), str(folder / "config.yaml"), str(step), file]
    done = subprocess.run(
        [*command, f"output_dir={out}", *settings],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]


def measured(out: Path) -> list[dict[str, Any]]:
    """All lines of metrics.jsonl, without the clock's."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "per_second" not in key} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "step", "file", "resumed_at"),
    [
        ("full", 11, "", 8),  # in the second epoch, between two checkpoints
        ("full", 12, "optimizer.pt", 8),  # in the middle of a checkpoint
        ("lora with dropout", 12, "rng_state.pth", 8),
        ("lora with dropout", 15, "", 12),  # the checkpoint stands at the end of an epoch
    ],
)
def test_killed_and_resumed_run_equals_the_uninterrupted_one(
    folder: Path, tmp_path: Path, uninterrupted: dict[str, Path], mode: str, step: int, file: str, resumed_at: int
) -> None:
    out, whole = tmp_path / "out", uninterrupted[mode]
    start_and_die(folder, out, step, file, MODES[mode])
    assert not (out / "summary.json").exists()

    listener = Listener()
    settings = (f"output_dir={out}", "resume_from_checkpoint=true", *MODES[mode])
    run(load_config(folder / "config.yaml", settings), listener)

    assert listener.begun == (3 * STEPS_PER_EPOCH, resumed_at)
    assert listener.rows == 2 * STEPS_PER_EPOCH - 1, "the last step of an epoch is not full"
    if file:
        assert any("removed .unfinished-checkpoint-12" in text for text in listener.stages)
    assert measured(out) == measured(whole)
    (one,), (two,) = (each.glob("*model.safetensors") for each in (out, whole))
    weights, wanted = load_file(one), load_file(two)
    assert weights.keys() == wanted.keys()
    assert all(weights[name].equal(wanted[name]) for name in wanted)
    summary = json.loads((out / "summary.json").read_text())
    reference = json.loads((whole / "summary.json").read_text())
    for key in ("steps", "epochs", "train_loss_first", "train_loss_last", "eval_loss_before", "eval_loss_after"):
        assert summary[key] == reference[key], key
    assert summary["resumed_from"] == str(out / f"checkpoint-{resumed_at}")


def test_comparison_would_notice_another_order(folder: Path, tmp_path: Path, uninterrupted: dict[str, Path]) -> None:
    """The negative control: another seed gives other losses."""
    run(load_config(folder / "config.yaml", (f"output_dir={tmp_path / 'out'}", "seed=43", "max_steps=3")))
    ours, other = (
        [line["loss"] for line in measured(out) if "loss" in line][:3]
        for out in (uninterrupted["full"], tmp_path / "out")
    )
    assert all(a != b for a, b in zip(ours, other, strict=True))
