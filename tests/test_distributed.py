"""Engines that share a model out, on gloo: the losses of one process, and checkpoints that any of them goes on from."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sft_schema import ConfigError, load_config
from sft_train.export import merge_shards
from sft_train.run import run
from sft_train.testing import tiny_model, write_conversations

torch.set_num_threads(1)

# Several runs in each process, as starting one takes longer than a run: each run meets at a port of its own.
SCRIPT = """\
import json, os, sys, torch
from pathlib import Path
from sft_schema import load_config
from sft_train.run import run

class Told:
    def __init__(self): self.stages = []
    def stage(self, sentence): self.stages.append(sentence)
    def __getattr__(self, name): return lambda *args, **kwargs: None

torch.set_num_threads(1)
os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
for port, (out, overrides) in zip(json.loads(sys.argv[2]), json.loads(sys.argv[3])):
    os.environ["MASTER_PORT"] = str(port)
    told = Told()
    run(load_config(sys.argv[1], overrides), told)
    if os.environ["RANK"] == "0":
        Path(out + ".json").write_text(json.dumps(told.stages))
"""
SETTINGS = """\
base_model: {folder}/model
datasets: [{{path: {folder}/train.jsonl}}]
test_datasets: [{{path: {folder}/heldout.jsonl}}]
dataset_prepared_path: {folder}/prepared
sequence_len: 256
learning_rate: 0.01
max_steps: 4
save_steps: 2
"""
LORA = ("adapter=lora", "lora_target_linear=true", "lora_r=4")
HALF = ("bf16=true",)
RESUME = "resume_from_checkpoint=true"
IN_SHARDS = "fsdp_config.state_dict_type=SHARDED_STATE_DICT"
Job = tuple[str, Sequence[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and the runs of one process that all others are compared with; `lora` trains an adapter."""
    folder = tmp_path_factory.mktemp("distributed")
    tiny_model(folder / "model")
    write_conversations(folder / "train.jsonl", 24, seed=3)
    write_conversations(folder / "heldout.jsonl", 3, seed=4)
    (folder / "config.yaml").write_text(SETTINGS.format(folder=folder))
    (folder / "train.py").write_text(SCRIPT)
    for name, given in (("one", ()), ("lora", LORA)):
        alone(folder, name, *given)
    return folder


def alone(folder: Path, name: str, *overrides: str) -> None:
    given = (f"output_dir={folder / name}", "gradient_accumulation_steps=4", *overrides)
    run(load_config(folder / "config.yaml", given))


def free_ports(count: int) -> list[int]:
    """Below those that the system gives to connections, as they are used only some seconds later."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 30_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        found.append(port)
    return found


def together(folder: Path, *jobs: Job, processes: int = 2) -> None:
    """Runs in several processes, with as many rows in a step as one process has."""
    first, *ports = free_ports(len(jobs) + 1)
    accumulate = f"gradient_accumulation_steps={4 // processes}"
    runs = [(str(folder / name), [f"output_dir={folder / name}", accumulate, *given]) for name, given in jobs]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    words = [str(folder / "train.py"), str(folder / "config.yaml"), json.dumps(ports), json.dumps(runs)]
    command = [*torchrun, "--master-port", str(first), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-5000:]


def half_done(folder: Path, name: str, *, after: str) -> None:
    """An output folder as a run that was stopped after step 2 leaves it."""
    (folder / name).mkdir()
    shutil.copytree(folder / after / "checkpoint-2", folder / name / "checkpoint-2")


def numbers(out: Path) -> list[tuple[float, float]]:
    """Loss and norm of the gradient of each step, and the held-out losses."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [(line["loss"], line["grad_norm"]) for line in lines if "loss" in line]
    return [*steps, *((line["eval_loss"], 0.0) for line in lines if "eval_loss" in line)]


def assert_same(folder: Path, name: str, as_: str, *, steps: slice = slice(None)) -> None:
    found, wanted = numbers(folder / name), numbers(folder / as_)
    for one, two in zip(found[-1:] if steps.start else found, wanted[-1:] if steps.start else wanted, strict=True):
        assert one == pytest.approx(two, abs=1e-5, rel=1e-5), (name, found, wanted)
    (file,), (other,) = ((folder / each).glob("*model.safetensors") for each in (name, as_))
    one, two = load_file(file), load_file(other)
    assert one.keys() == two.keys()
    for key, value in two.items():
        torch.testing.assert_close(one[key], value, rtol=0, atol=2e-5, msg=f"{name}: {key}")


def stages(folder: Path, name: str) -> str:
    return "\n".join(json.loads((folder / f"{name}.json").read_text()))


@pytest.mark.slow
def test_fsdp_and_ddp_train_what_one_process_trains_and_their_checkpoints_change_hands(folder: Path) -> None:
    fsdp = "fsdp_version=2"
    half_done(folder, "one-to-fsdp", after="one")
    together(
        folder,
        ("ddp", ()),
        ("fsdp", (fsdp,)),
        ("fsdp-lora", (fsdp, *LORA)),
        ("shards", (IN_SHARDS, "fsdp_config.activation_checkpointing=true")),
        ("one-to-fsdp", (fsdp, RESUME)),
        ("lora-half", (*LORA, *HALF)),
        ("fsdp-lora-half", (fsdp, *LORA, *HALF)),
    )
    halves = [[loss for loss, _ in numbers(folder / name)] for name in ("lora-half", "fsdp-lora-half")]
    assert halves[1] == pytest.approx(halves[0], rel=2e-3)
    assert halves[0] != [loss for loss, _ in numbers(folder / "lora")], "computed in float32"
    for name, as_ in (("ddp", "one"), ("fsdp", "one"), ("fsdp-lora", "lora"), ("shards", "one")):
        assert_same(folder, name, as_)
    assert_same(folder, "one-to-fsdp", "one", steps=slice(2, None))
    assert "FSDP" not in stages(folder, "ddp")
    for name in ("fsdp", "shards", "one-to-fsdp"):
        assert "FSDP2: 17,744 of 35,488 weights in this process" in stages(folder, name)
    assert "FSDP2: 19,792 of 39,584 weights in this process" in stages(folder, "fsdp-lora")

    for source in ("fsdp", "shards"):  # in one process
        half_done(folder, f"{source}-to-one", after=source)
        alone(folder, f"{source}-to-one", RESUME)
        assert_same(folder, f"{source}-to-one", "one", steps=slice(2, None))

    merged = merge_shards(folder / "shards", folder / "merged")
    assert merged.source == folder / "shards" / "checkpoint-4"
    whole = AutoModelForCausalLM.from_pretrained(folder / "merged").state_dict()
    for key, value in load_file(folder / "shards" / "model.safetensors").items():
        assert torch.equal(whole[key], value), key
    with pytest.raises(ConfigError, match="holds no shards"):
        merge_shards(folder / "fsdp", folder / "again")
    with pytest.raises(ConfigError, match="exists"):
        merge_shards(folder / "shards", folder / "merged")


@pytest.mark.slow
@pytest.mark.extra("deepspeed")
def test_zero_trains_what_one_process_trains_and_goes_on_from_any_checkpoint(folder: Path) -> None:
    pytest.importorskip("deepspeed", reason="needs sft-train[deepspeed]")
    half_done(folder, "one-to-zero2", after="one")
    half_done(folder, "one-to-zero3", after="one")
    together(
        folder,
        ("zero1", ("deepspeed=zero1",)),
        ("one-to-zero2", ("deepspeed=zero2", RESUME)),
        ("zero3", ("deepspeed=zero3",)),
        ("zero3-lora", ("deepspeed=zero3", *LORA)),
        ("one-to-zero3", ("deepspeed=zero3", RESUME)),
    )
    for name, as_ in (("zero1", "one"), ("zero3", "one"), ("zero3-lora", "lora")):
        assert_same(folder, name, as_)
    for name in ("one-to-zero2", "one-to-zero3"):
        assert_same(folder, name, "one", steps=slice(2, None))
    for name, stage in (("zero1", 1), ("one-to-zero2", 2), ("zero3", 3)):
        assert f"ZeRO {stage}: optimizer states for 17,744 of 35,488 trained weights" in stages(folder, name)
    for source, as_, given in (("zero3", "one", ()), ("zero1", "one", ()), ("zero3-lora", "lora", LORA)):
        half_done(folder, f"{source}-to-one", after=source)
        alone(folder, f"{source}-to-one", RESUME, *given)
        assert_same(folder, f"{source}-to-one", as_, steps=slice(2, None))


def sft_train(folder: Path, out: Path, *overrides: str) -> subprocess.Popen[str]:
    sets = [word for each in (f"output_dir={out}", *overrides) for word in ("--set", each)]
    words = ["train", str(folder / "config.yaml"), *sets, "--", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "sft_cli", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def process_of_rank(launcher: int, rank: int) -> int:
    for path in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{path}/environ").read_text():
            return int(path)
    raise AssertionError("there is no such process")


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/environ").is_file(), reason="needs Linux's /proc to find a process by its rank"
)
def test_a_rank_that_is_killed_ends_the_job_and_is_named_and_a_resume_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = sft_train(folder, out, "max_steps=100000", "save_steps=5", "save_total_limit=100000")
    deadline = time.monotonic() + 120
    while not (out / "checkpoint-5").is_dir():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process_of_rank(job.pid, 1), signal.SIGKILL)
    began = time.monotonic()
    _, said = job.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert job.returncode == 1
    assert said.count("rank 1 failed first, and the others were ended: it was killed by SIGKILL") == 1
    assert "resume_from_checkpoint=true -- --nproc-per-node 2" in said

    newest = max(int(each.name.split("-")[1]) for each in out.glob("checkpoint-*"))
    accumulate = "gradient_accumulation_steps=2"  # in one process, as starting two takes long
    run(load_config(folder / "config.yaml", (f"output_dir={out}", f"max_steps={newest + 1}", accumulate, RESUME)))
    assert json.loads((out / "summary.json").read_text())["steps"] == newest + 1
