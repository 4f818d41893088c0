"""A run that is killed forty times is the run that was not.

`kill -9` comes at random moments, many of them inside a save: when the folder of an unfinished checkpoint is seen, when
an old one is being deleted, when the result is being written. Every checkpoint that has its name is whole after every
kill, every new start goes on from the newest one, and in the end losses and weights are equal to the last bit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import re
import secrets
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sft_train.checkpoint.find import problems_of
from sft_train.testing import tiny_model, write_conversations

torch.set_num_threads(1)

KILLS = 40
SETTINGS = """\
base_model: {folder}/model
datasets: [{{path: {folder}/a.jsonl, weight: 2}}, {{path: {folder}/b.jsonl, weight: 1}}]
mix_strategy: interleave_over
test_datasets: [{{path: {folder}/heldout.jsonl}}]
dataset_prepared_path: {folder}/prepared
sequence_len: 256
sample_packing: true
gradient_accumulation_steps: 2
neftune_noise_alpha: 5  # drawn at random, as dropout is
gradient_checkpointing: false
max_steps: 150
learning_rate: 1e-3
warmup_steps: 9
logging_steps: 3
save_steps: 1
eval_steps: 1
save_total_limit: 2
load_best_model_at_end: true
"""
RUN = """
from sft_schema import load_config
from sft_train.observer import Silent
from sft_train.run import run

class Teller(Silent):
    def stage(self, text):
        with open({said!r}, "a") as file:
            file.write(text + "\\n")

run(load_config({config!r}, {overrides!r}), Teller())
"""


@dataclass
class Tally:
    """What the kills hit."""

    inside: int = 0
    resumed: int = 0
    steps: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torture")
    tiny_model(folder / "model", layers=1, hidden=16)
    write_conversations(folder / "a.jsonl", 20, seed=6)
    write_conversations(folder / "b.jsonl", 9, seed=8)
    write_conversations(folder / "heldout.jsonl", 3, seed=7)
    (folder / "config.yaml").write_text(SETTINGS.format(folder=folder))
    return folder


def code(folder: Path, out: Path, *overrides: str) -> str:
    given = (f"output_dir={out}", *overrides)
    return RUN.format(said=f"{out}.said", config=str(folder / "config.yaml"), overrides=given)


def dotted(out: Path) -> set[str]:
    """What is being written, replaced or deleted in a folder."""
    try:
        return {name for name in os.listdir(out) if name.startswith(".") and name != ".lock"}
    except FileNotFoundError:
        return set()


def unfinished(out: Path) -> set[tuple[str, int]]:
    """The same with the times of change: a folder of that name may be left of an earlier life."""
    return {(name, (out / name).stat().st_mtime_ns) for name in dotted(out)}


def alive(process: int) -> bool:
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())  # empty when it has ended and nobody has asked
    except OSError:
        return False


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # what it ended with is looked at afterwards
        os.kill(process, signal.SIGKILL)


def wait_for(process: int, out: Path, prefix: str, times: int, seconds: float = 20) -> None:
    """Until a folder has been seen so many times whose name begins so, or the process has ended."""
    known = dotted(out)
    end = time.monotonic() + seconds
    while time.monotonic() < end and alive(process):
        now = dotted(out)
        times -= sum(name.startswith(prefix) for name in now - known)
        if times <= 0:
            return
        known = now
        time.sleep(0.001)


def kill_at_random(process: int, out: Path, choose: random.Random) -> None:
    """Some kills come early, while the run gets ready; half of the others aim at a moment of saving."""
    if choose.random() < 0.2:
        time.sleep(choose.uniform(0, 0.4))
    elif choose.random() < 0.5:
        wait_for(process, out, ".unfinished-", choose.randint(1, 3))
        time.sleep(choose.uniform(0, 0.06))
    else:
        prefix = choose.choice([".unfinished-", ".unfinished-", ".removed-"])
        wait_for(process, out, prefix, choose.randint(1, 3), seconds=2)
        time.sleep(choose.uniform(0, 0.02))
    kill(process)


def newest(out: Path) -> int | None:
    """Step of the newest checkpoint, after a look at all of them."""
    found = {int(each.name.split("-")[1]): problems_of(each) for each in out.glob("checkpoint-*")}
    assert not any(found.values()), f"a checkpoint with its name is not whole: {found}"
    return max(found, default=None)


def start_again(folder: Path, out: Path, forks: Any, tally: Tally) -> int:
    """A new process, which writes its checkpoints while it trains if the last one did not."""
    before, later = newest(out), f"save_async={str(len(tally.steps) % 2 == 0).lower()}"
    Path(f"{out}.said").write_text("")
    (process,) = forks.start(code(folder, out, "resume_from_checkpoint=true", later))
    tally.steps.append(before or 0)
    return process


def check_start(out: Path, tally: Tally) -> None:
    said = Path(f"{out}.said").read_text().splitlines()
    going_on = [line for line in said if line.startswith(("resuming from", "no checkpoint in"))]
    if not going_on:
        return  # killed before it came to that
    step = tally.steps[-1]
    wanted = f"resuming from {out}/checkpoint-{step}" if step else f"no checkpoint in {out}: starting anew"
    assert going_on == [wanted], said
    tally.resumed += bool(step)


CLOCKED = re.compile("per_second|data_wait|mfu|memory")


def measured(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not CLOCKED.search(key)} for line in lines]


@pytest.mark.slow
def test_forty_kills_change_nothing(folder: Path, tmp_path: Path, forks: Any) -> None:
    seed = secrets.randbits(32)
    logging.getLogger(__name__).warning("random seed %d", seed)  # pytest shows it when the test fails
    choose, tally = random.Random(seed), Tally()
    out, whole = tmp_path / "out", tmp_path / "whole"
    forks.run(code(folder, whole))

    for number in range(KILLS):
        before = unfinished(out)
        process = start_again(folder, out, forks, tally)
        if number < KILLS - 2:
            kill_at_random(process, out, choose)
        else:  # the last two hit the saving of the result
            wait_for(process, out, ".unfinished-model", 1)
            kill(process)
        ended = forks.wait()
        assert ended == [-signal.SIGKILL], (number, ended, forks.output())
        check_start(out, tally)
        tally.inside += bool(unfinished(out) - before)
    logging.getLogger(__name__).warning("%s", tally)
    assert tally.inside >= KILLS // 3, f"too few kills inside a save: {tally}"
    assert tally.resumed >= KILLS // 2, tally
    assert tally.steps == sorted(tally.steps), "a run has lost a checkpoint"

    process = start_again(folder, out, forks, tally)
    assert forks.wait() == [0], forks.output()
    check_start(out, tally)
    assert dotted(out) == set()
    assert measured(out) == measured(whole)
    weights, wanted = (load_file(each / "model.safetensors") for each in (out, whole))
    assert weights.keys() == wanted.keys()
    assert all(weights[name].equal(wanted[name]) for name in wanted)
    assert {each.name for each in out.glob("checkpoint-*")} == {each.name for each in whole.glob("checkpoint-*")}
    one, two = (json.loads((each / "summary.json").read_text()) for each in (out, whole))
    for key in ("steps", "best_step", "train_loss_first", "train_loss_last", "eval_loss_before", "eval_loss_after"):
        assert one[key] == two[key], key
