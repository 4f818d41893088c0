"""Processes of a run that find no prepared data: one does the work, and another takes over from a dead one."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from sft_data import prepare, verify_prepared
from sft_schema import load_config
from sft_train.testing import tiny_model, write_conversations

ROWS = 40
SETTINGS = """\
base_model: {folder}/model
datasets: [{{path: {folder}/train.jsonl, type: custom, format_function: "{folder}/slow.py:slowly"}}]
dataset_prepared_path: {folder}/prepared
output_dir: {folder}/out
sequence_len: 256
learning_rate: 0.05
max_steps: 1
save_strategy: "no"
"""
SLOW = """\
import os, time
from pathlib import Path

def slowly(row, dataset):
    with open(Path(__file__).with_name("seen"), "a") as seen:
        seen.write(f"{{os.getpid()}}\\n")
    time.sleep({seconds})
    return dict(row.values)
"""
TRAIN = """\
import os
os.environ.update(RANK="{rank}", LOCAL_RANK="{rank}", WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
os.environ["MASTER_PORT"] = "{port}"
from sft_schema import load_config
from sft_train.run import run
run(load_config("{folder}/config.yaml", ()))
"""
PREPARE = """\
from sft_data import prepare
from sft_schema import load_config
prepare(load_config("{folder}/config.yaml", ()), lambda progress: print(progress, flush=True), first={first})
"""


def unprepared(folder: Path, seconds: float) -> None:
    tiny_model(folder / "model")
    write_conversations(folder / "train.jsonl", ROWS, seed=3)
    (folder / "slow.py").write_text(SLOW.format(seconds=seconds))
    (folder / "config.yaml").write_text(SETTINGS.format(folder=folder))


def seen(folder: Path) -> list[str]:
    """The process of each row that was formatted."""
    file = folder / "seen"
    return file.read_text().split() if file.exists() else []


@pytest.mark.slow
def test_two_ranks_prepare_once(forks: Any, tmp_path: Path) -> None:
    unprepared(tmp_path, 0.01)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    forks.run(*(TRAIN.format(rank=rank, port=port, folder=tmp_path) for rank in range(2)))
    assert len(set(seen(tmp_path))) == 1, "one process has formatted all rows"
    assert len(list((tmp_path / "prepared").iterdir())) == 1
    assert any("loss" in json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines())


def test_another_takes_over_from_a_process_that_is_killed(forks: Any, tmp_path: Path) -> None:
    unprepared(tmp_path, 0.1)
    first, _ = forks.start(*(PREPARE.format(folder=tmp_path, first=first) for first in (True, False)))
    until = time.monotonic() + 60
    while len(seen(tmp_path)) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    assert set(seen(tmp_path)) == {str(first)}, "the other gives way"
    os.kill(first, signal.SIGKILL)
    assert forks.wait() == [-signal.SIGKILL, 0], forks.output()
    assert "waiting=True" in forks.output()
    assert len(set(seen(tmp_path))) == 2
    prepared = prepare(load_config(tmp_path / "config.yaml", ()))
    assert verify_prepared(prepared.folder) == []
    assert prepared.manifest.splits["train"].rows_in == ROWS
