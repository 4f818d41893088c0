"""What is refused when an engine is not what was asked for, and which of several failures was the first."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from sft_schema import ConfigError, SftConfig, TrainingError, parse_config
from sft_schema.engine import READY, deepspeed_settings, fsdp_settings, zero_stage
from sft_train.compute import Compute
from sft_train.distributed import check_sharded, engine_arguments, joined
from sft_train.launch import first_failure, launch, processes_to_launch, tell_launcher
from sft_train.trainer import training_arguments

CPU = Compute(bf16=False, use_cpu=True)


def config(text: str) -> SftConfig:
    return parse_config(f"base_model: m\ndatasets: [{{path: a.jsonl}}]\nlearning_rate: 1e-4\n{text}\n")


@pytest.mark.parametrize(("text", "asked"), [("fsdp_version: 2", "FSDP2"), ("deepspeed: zero3", "DeepSpeed")])
def test_another_model_than_was_asked_for_stops_the_run(text: str, asked: str) -> None:
    with pytest.raises(TrainingError, match=f"{asked} was asked for, and the model is Linear"):
        check_sharded(nn.Linear(2, 2), config(text), 2)
    assert check_sharded(nn.Linear(2, 2), config(""), 2) is None


def test_fsdp_in_one_process_and_offloading_beside_no_gpu_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shards the model over processes, and there is one"):
        training_arguments(config(f"fsdp_version: 2\noutput_dir: {tmp_path}"), CPU)
    offloading = config("fsdp_config: {offload_params: true}")
    with pytest.raises(ConfigError, match="no GPU whose memory"), joined(offloading, CPU):
        pass


def test_files_and_names_stand_for_what_is_in_them(tmp_path: Path) -> None:
    path = tmp_path / "fsdp.json"
    path.write_text(json.dumps({"transformer_layer_cls_to_wrap": "A, B", "reshard_after_forward": False}))
    cfg = config(f"fsdp_config: {path}")
    found = fsdp_settings(cfg)
    assert cfg.fsdp_version == 2
    assert found is not None
    assert not found.reshard_after_forward
    said = engine_arguments(cfg)["fsdp_config"]
    assert said["transformer_layer_cls_to_wrap"] == ["A", "B"]
    for name in READY:
        stage = int(name.removeprefix("zero")[0])
        assert zero_stage(config(f"deepspeed: {name}")) == stage
        built = config("").model_copy(update={"deepspeed": name})  # not by load_config
        assert deepspeed_settings(built) == config(f"deepspeed: {name}").deepspeed
    with pytest.raises(ConfigError, match=r"there is no file 'zero2\.json'") as caught:
        config("deepspeed: zero2.json")
    assert "write `deepspeed: zero2`, which is shipped" in str(caught.value)


def failure(tmp_path: Path, rank: int, code: int, exact: float | None) -> ProcessFailure:
    file = tmp_path / f"{rank}.json"
    if exact is not None:
        said = {"message": f"rank {rank} said", "exact": exact, "extraInfo": {"timestamp": int(exact)}}
        file.write_text(json.dumps({"message": said}))
    return ProcessFailure(rank, 1, code, str(file))


def test_the_first_failure_is_the_process_that_was_killed_or_else_the_earliest(tmp_path: Path) -> None:
    now = time.time()
    late, early = failure(tmp_path, 0, 1, now - 0.1), failure(tmp_path, 1, 2, now - 0.8)
    found = first_failure({0: late, 1: early})
    assert (found.rank, found.exit_code, found.message) == (1, 2, "rank 1 said")
    found = first_failure({0: late, 1: early, 2: failure(tmp_path, 2, -9, None)})
    assert (found.rank, found.exit_code) == (2, -9)
    assert "SIGKILL" in found.message


def test_processes_that_the_launcher_ended_are_not_the_cause(tmp_path: Path) -> None:
    told = failure(tmp_path, 1, 2, time.time() - 26)
    ended = {0: failure(tmp_path, 0, -15, None), 2: failure(tmp_path, 2, -9, None)}
    assert first_failure({**ended, 1: told}).rank == 1
    assert first_failure({0: ended[0], 1: failure(tmp_path, 1, 2, time.time())}).rank == 1


def test_an_error_is_left_to_a_launcher_that_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    monkeypatch.delenv("SFT_LAUNCHED", raising=False)
    assert not tell_launcher("x")
    monkeypatch.setenv("SFT_LAUNCHED", "1")
    assert tell_launcher("x")
    assert json.loads((tmp_path / "error.json").read_text())["message"]["message"] == "x"


def test_a_run_is_launched_when_asked_and_never_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert processes_to_launch(None, ()) == "none"
    assert processes_to_launch(None, ("--nproc-per-node", "2")) == "torchrun"
    assert processes_to_launch("accelerate", ()) == "accelerate"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert processes_to_launch(None, ()) == "torchrun"
    assert processes_to_launch("none", ()) == "none"
    monkeypatch.setenv("RANK", "0")
    assert processes_to_launch("torchrun", ()) == "none"


def test_an_argument_that_the_launcher_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not understand"):
        launch("torchrun", ["train", "config.yaml"], ["--nproc-per-gpu=2"])
