"""A run that is killed or stopped, and resumed, is the run that was not: the same losses, to the last bit."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sft_schema import StoppedEarlyError, load_config
from sft_train.checkpoint.find import problems_of
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

# The process is ended by a signal after a step, or with SIGKILL, which runs no handler, half-way through a file.
CODE = """\
import os, pathlib, signal, sys
import torch
from sft_schema import StoppedEarlyError, load_config
from sft_train.observer import Silent
from sft_train.run import run

os.setpgid(0, 0)
os.environ |= {environment!r}
exec({prelude!r})
step, file, number = {step!r}, {file!r}, {number!r}

class Killer(Silent):
    def logged(self, at, metrics):
        if not file and at == step and "loss" in metrics:
            os.killpg(0, number)  # its workers too, as a scheduler does

whole = torch.save
def half(what, path, *args, **kwargs):
    whole(what, path, *args, **kwargs)
    target = pathlib.Path(path)
    if file and target.name == file and target.parent.name == f".unfinished-checkpoint-{{step}}":
        target.write_bytes(target.read_bytes()[:target.stat().st_size // 2])
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = half

try:
    run(load_config({config!r}, {overrides!r}), Killer())
except StoppedEarlyError as stopped:
    print(stopped)
    sys.exit(75)
"""


def code(folder: Path, out: Path, *settings: str, **given: Any) -> str:
    values = {"step": None, "file": "", "number": signal.SIGKILL, "environment": {}, "prelude": ""} | given
    overrides = (f"output_dir={out}", *settings)
    values["number"] = int(values["number"])
    return CODE.format(config=str(folder / "config.yaml"), overrides=overrides, **values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    tiny_model(folder / "model")
    write_conversations(folder / "train.jsonl", 28, seed=6)
    write_conversations(folder / "heldout.jsonl", 4, seed=7)
    (folder / "config.yaml").write_text(SETTINGS.format(folder=folder))
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


CLOCKED = re.compile("per_second|data_wait|mfu|memory")


def measured(out: Path) -> list[dict[str, Any]]:
    """All lines of metrics.jsonl, without the clock's."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not CLOCKED.search(key)} for line in lines]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in measured(out) if "loss" in line]


def assert_same(out: Path, whole: Path) -> None:
    """Lines, weights and figures are those of the run that nobody stopped."""
    assert measured(out) == measured(whole)
    (one,), (two,) = (each.glob("*model.safetensors") for each in (out, whole))
    weights, wanted = load_file(one), load_file(two)
    assert weights.keys() == wanted.keys()
    assert all(weights[name].equal(wanted[name]) for name in wanted)
    summary, reference = (json.loads((each / "summary.json").read_text()) for each in (out, whole))
    for key in ("steps", "epochs", "train_loss_first", "train_loss_last", "eval_loss_before", "eval_loss_after"):
        assert summary[key] == reference[key], key


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
    folder: Path,
    tmp_path: Path,
    uninterrupted: dict[str, Path],
    forks: Any,
    mode: str,
    step: int,
    file: str,
    resumed_at: int,
) -> None:
    out, whole = tmp_path / "out", uninterrupted[mode]
    forks.start(code(folder, out, *MODES[mode], step=step, file=file))
    assert forks.wait() == [-signal.SIGKILL], forks.output()
    assert not (out / "summary.json").exists()

    listener = Listener()
    settings = (f"output_dir={out}", "resume_from_checkpoint=true", *MODES[mode])
    run(load_config(folder / "config.yaml", settings), listener)

    assert listener.begun == (3 * STEPS_PER_EPOCH, resumed_at)
    assert listener.rows == 2 * STEPS_PER_EPOCH - 1, "the last step of an epoch is not full"
    assert any("removed .unfinished-checkpoint-12" in text for text in listener.stages) == bool(file)
    assert_same(out, whole)
    assert listener.summary.resumed_from == str(out / f"checkpoint-{resumed_at}")


@pytest.mark.parametrize("step", [7, 2 * STEPS_PER_EPOCH - 1])
def test_sigterm_ends_a_run_after_the_step_with_a_checkpoint_that_goes_on_exactly(
    folder: Path, tmp_path: Path, forks: Any, step: int
) -> None:
    """The signal comes after `step`. Where the next is the last of an epoch, what is due then is done as well."""
    settings = ("save_strategy=epoch", "save_steps=null", "eval_strategy=epoch", "eval_steps=null")
    settings += (*MODES["lora with dropout"], "dataloader_num_workers=1")
    out, whole = tmp_path / "out", tmp_path / "whole"
    forks.run(code(folder, whole, *settings))
    forks.start(code(folder, out, *settings, step=step, number=signal.SIGTERM))
    assert forks.wait() == [75], forks.output()
    stopped = out / f"checkpoint-{step + 1}"
    assert f"(SIGTERM); its checkpoint is {stopped}" in forks.output()
    assert problems_of(stopped) == []
    assert not (out / "adapter_model.safetensors").exists(), "the run is not finished"
    forks.run(code(folder, out, *settings, "resume_from_checkpoint=true"))
    assert_same(out, whole)


def test_max_minutes_end_a_run_with_a_checkpoint(folder: Path, tmp_path: Path, uninterrupted: dict[str, Path]) -> None:
    out, unsaved = tmp_path / "out", ("save_strategy=no", "save_steps=null")
    with pytest.raises(StoppedEarlyError, match=r"after step 1 \(max_minutes \(1e-06\) are over\).*checkpoint-1"):
        run(load_config(folder / "config.yaml", (*unsaved, f"output_dir={out}", "max_minutes=1e-6")))
    later = (f"output_dir={out}", "max_minutes=60", "resume_from_checkpoint=true")
    run(load_config(folder / "config.yaml", later))
    assert_same(out, uninterrupted["full"])


def pair(folder: Path, out: Path, *settings: str, step: int | None = None, in_second: str = "") -> tuple[str, str]:
    """Two processes. The first one is told to stop; the second one runs some code before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": "2"}
    first, second = (
        code(
            folder,
            out,
            *settings,
            environment=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            step=step,
            number=signal.SIGTERM,
            prelude=in_second if rank else "",
        )
        for rank in range(2)
    )
    return first, second


@pytest.mark.slow
def test_two_processes_stop_at_one_step_and_go_on_exactly(folder: Path, tmp_path: Path, forks: Any) -> None:
    settings = (*MODES["lora with dropout"], "gradient_accumulation_steps=1")
    forks.run(*pair(folder, tmp_path / "whole", *settings))
    forks.start(*pair(folder, tmp_path / "out", *settings, step=10))
    assert forks.wait() == [75, 75], forks.output()
    stopped = tmp_path / "out" / "checkpoint-11"
    assert {each.name for each in stopped.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    forks.run(*pair(folder, tmp_path / "out", *settings, "resume_from_checkpoint=true"))
    assert_same(tmp_path / "out", tmp_path / "whole")


# less than the 14 kB of a random state, more than what a process prints here
LITTLE_ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (13_000, resource.RLIM_INFINITY))"


@pytest.mark.slow
def test_what_one_process_cannot_write_or_resume_from_ends_both(folder: Path, tmp_path: Path, forks: Any) -> None:
    """The second one alone cannot write its random state; the first one alone looks for a checkpoint."""
    out, settings = tmp_path / "out", ("gradient_accumulation_steps=1", "save_steps=1", "eval_steps=1", "max_steps=2")
    forks.start(*pair(folder, out, *settings, in_second=LITTLE_ROOM))
    assert forks.wait() == [1, 1], forks.output()
    assert forks.output().count("TrainingError: checkpoint-1 could not be written") == 2
    assert not [each for each in out.iterdir() if each.is_dir()]
    (out / "checkpoint-1").mkdir()
    forks.start(*pair(folder, out, *settings, "resume_from_checkpoint=true"))
    assert forks.wait() == [1, 1], forks.output()
    assert forks.output().count("is complete (checkpoint-1: manifest.json is missing)") == 2


@pytest.mark.slow
def test_another_number_of_processes_sees_the_same_rows(
    folder: Path, tmp_path: Path, uninterrupted: dict[str, Path], forks: Any
) -> None:
    """One process, then two, then one: each step has the loss that it has in one process all along."""
    out = tmp_path / "out"
    forks.start(code(folder, out, step=5, number=signal.SIGTERM))
    assert forks.wait() == [75], forks.output()
    forks.start(*pair(folder, out, "gradient_accumulation_steps=1", "resume_from_checkpoint=true", step=10))
    assert forks.wait() == [75, 75], forks.output()
    forks.run(code(folder, out, "resume_from_checkpoint=true"))
    assert losses(out) == pytest.approx(losses(uninterrupted["full"]), rel=1e-4)
    assert len(losses(out)) == 3 * STEPS_PER_EPOCH


def test_comparison_would_notice_another_order(folder: Path, tmp_path: Path, uninterrupted: dict[str, Path]) -> None:
    """The negative control: another seed gives other losses."""
    run(load_config(folder / "config.yaml", (f"output_dir={tmp_path / 'out'}", "seed=43", "max_steps=3")))
    ours, other = (losses(out)[:3] for out in (uninterrupted["full"], tmp_path / "out"))
    assert all(abs(a - b) > 1e-3 * b for a, b in zip(ours, other, strict=True))
