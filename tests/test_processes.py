"""Settings of several processes, in a real run of two that exchange gradients with gloo."""

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

from sft_schema import load_config
from sft_train.run import run
from sft_train.testing import tiny_model, write_conversations

torch.set_num_threads(1)

# What torch is asked for is written down on the way, and done all the same.
SCRIPT = """\
import json, pathlib, sys, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as Wrapped
from sft_schema import load_config
from sft_train.run import run

torch.set_num_threads(1)
seen = {}
wrap, join = Wrapped.__init__, dist.init_process_group

def wrapping(self, *args, **kwargs):
    wrap(self, *args, **kwargs)
    seen["unused"], seen["buffers"] = self.find_unused_parameters, self.broadcast_buffers
    seen["bucket"] = self.bucket_bytes_cap // 2**20

def joining(*args, **kwargs):
    seen["timeout"] = kwargs["timeout"].total_seconds()
    return join(*args, **kwargs)

Wrapped.__init__, dist.init_process_group = wrapping, joining
cfg = load_config(sys.argv[1], sys.argv[3:])
run(cfg)
pathlib.Path(sys.argv[2]).write_text(json.dumps(seen))
"""
SETTINGS = """\
base_model: {folder}/model
datasets: [{{path: {folder}/train.jsonl}}]
dataset_prepared_path: {folder}/prepared
sequence_len: 256
learning_rate: 0.05
max_steps: 3
save_strategy: "no"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    tiny_model(folder / "model")
    write_conversations(folder / "train.jsonl", 12, seed=3)
    (folder / "config.yaml").write_text(SETTINGS.format(folder=folder))
    (folder / "train.py").write_text(SCRIPT)
    return folder


def train(folder: Path, out: Path, *overrides: str) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    script = [str(folder / "train.py"), str(folder / "config.yaml"), f"{out}.json", f"output_dir={out}", *overrides]
    done = subprocess.run([*torchrun, *script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(Path(f"{out}.json").read_text())


@pytest.mark.slow
def test_two_processes_run_as_the_settings_say_and_train_the_same_weights(folder: Path, tmp_path: Path) -> None:
    usual = train(folder, tmp_path / "usual")
    assert (usual["unused"], usual["timeout"]) == (False, 86400)
    given = (
        "ddp_timeout=120",
        "ddp_find_unused_parameters=true",
        "ddp_bucket_cap_mb=3",
        "ddp_broadcast_buffers=false",
        "profiler_steps=2",
        "dataloader_num_workers=1",
    )
    other = train(folder, tmp_path / "other", *given)
    assert other == {"unused": True, "buffers": False, "bucket": 3, "timeout": 120}
    assert other["buffers"] != usual["buffers"]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("usual", "other"))
    for name, each in one.items():
        torch.testing.assert_close(two[name], each, rtol=0, atol=1e-6)
    for trace in ("profiler_trace.json", "profiler_trace_1.json"):
        events = json.loads((tmp_path / "other" / trace).read_text())["traceEvents"]
        assert sum(each.get("name", "").startswith("Optimizer.step#") for each in events) == 2, trace


def losses(out: Path) -> list[float]:
    lines = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.slow
def test_balanced_processes_and_cut_samples_leave_the_losses_of_one_process(folder: Path, tmp_path: Path) -> None:
    """Which process computes a row changes nothing; `wrapped` rows too are shared out without losing any."""
    given = ("sample_packing=true", "packing_strategy=wrapped", "gradient_accumulation_steps=2", "max_steps=4")
    train(folder, tmp_path / "as_they_come", *given)
    train(folder, tmp_path / "balanced", *given, "packing_balance=attention")
    alone = (*given[:2], "gradient_accumulation_steps=4", "max_steps=4", f"output_dir={tmp_path / 'alone'}")
    run(load_config(folder / "config.yaml", alone))
    wanted = losses(tmp_path / "alone")
    assert len(wanted) == 4
    for name in ("as_they_come", "balanced"):
        assert losses(tmp_path / name) == pytest.approx(wanted, rel=1e-4), name
