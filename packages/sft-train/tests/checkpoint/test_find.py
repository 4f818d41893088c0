from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sft_schema import ConfigError, SftConfig
from sft_schema.config import SavingSection
from sft_train.checkpoint import find_checkpoint, refuse_leftovers
from sft_train.checkpoint.find import problems_of
from sft_train.run import run

IDENTITY: dict[str, object] = {}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, data_folder: Path) -> Path:
    """The output of a real run of 3 steps with a checkpoint at each."""
    folder = tmp_path_factory.mktemp("finished")
    cfg = SftConfig.model_validate_json(
        json.dumps(
            {
                "base_model": str(model_folder),
                "datasets": [{"path": str(data_folder / "train.jsonl")}],
                "dataset_prepared_path": str(data_folder / "prepared"),
                "output_dir": str(folder),
                "sequence_len": 256,
                "learning_rate": 1e-3,
                "max_steps": 3,
                "save_strategy": "steps",
                "save_steps": 1,
            }
        )
    )
    run(cfg)
    return folder


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


def identity_of(out: Path) -> dict[str, object]:
    state = json.loads((out / "checkpoint-1" / "trainer_state.json").read_text())
    return state["stateful_callbacks"]["CheckpointRecord"]["args"]["identity"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path: Path) -> None:
    path.unlink()


TORN: list[tuple[str, Callable[[Path], None], str]] = [
    ("trainer_state.json", remove, "trainer_state.json is missing"),
    ("trainer_state.json", cut, "trainer_state.json is cut off"),
    ("model.safetensors", remove, "neither model.safetensors nor adapter_model.safetensors"),
    ("model.safetensors", cut, "model.safetensors cannot be read"),
    ("optimizer.pt", remove, "optimizer.pt is missing"),
    ("optimizer.pt", cut, "optimizer.pt is cut off"),
    ("scheduler.pt", remove, "scheduler.pt is missing"),
    ("rng_state.pth", remove, "rng_state.pth is missing"),
    ("rng_state.pth", cut, "rng_state.pth is cut off"),
]


def test_checkpoints_can_be_read_by_whoever_can_read_new_files(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    wanted = (tmp_path / "new").stat().st_mode
    assert {path.stat().st_mode for path in (finished / "checkpoint-3").iterdir()} == {wanted}


@pytest.mark.parametrize(("name", "harm", "problem"), TORN)
def test_torn_newest_checkpoint_is_skipped_with_the_reason(
    out: Path, name: str, harm: Callable[[Path], None], problem: str
) -> None:
    harm(out / "checkpoint-3" / name)
    said: list[str] = []
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=True)
    found = find_checkpoint(cfg, identity_of(out), said.append)
    assert found is not None
    assert found.step == 2
    assert any("checkpoint-3" in text and problem in text for text in said)
    assert any("resuming from" in text and "checkpoint-2" in text for text in said)


@pytest.mark.parametrize(("name", "harm", "problem"), TORN)
def test_torn_checkpoint_that_was_named_is_refused(
    out: Path, name: str, harm: Callable[[Path], None], problem: str
) -> None:
    harm(out / "checkpoint-2" / name)
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=str(out / "checkpoint-2"))
    with pytest.raises(ConfigError, match=problem):
        find_checkpoint(cfg, identity_of(out), print)


def test_shards_are_all_looked_at(out: Path) -> None:
    folder = out / "checkpoint-3"
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (problem,) = problems_of(folder)
    assert "model-00002-of-00002.safetensors cannot be read" in problem


def test_each_process_needs_its_random_state(out: Path) -> None:
    folder = out / "checkpoint-3"
    file = folder / "trainer_state.json"
    state = json.loads(file.read_text())
    state["stateful_callbacks"]["CheckpointRecord"]["args"]["processes"] = 2
    file.write_text(json.dumps(state))
    (folder / "rng_state.pth").rename(folder / "rng_state_0.pth")
    assert problems_of(folder) == ["rng_state_1.pth is missing"]


def test_named_checkpoint_is_taken_though_it_is_not_the_newest(out: Path, tmp_path: Path) -> None:
    cfg = SavingSection(output_dir=str(tmp_path / "other"), resume_from_checkpoint=str(out / "checkpoint-1"))
    assert find_checkpoint(cfg, identity_of(out), print).step == 1


def test_named_checkpoint_is_refused_beside_a_newer_one(out: Path) -> None:
    """The new run's checkpoints would mix with those of the run that it branches off from."""
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=str(out / "checkpoint-1"))
    with pytest.raises(ConfigError, match=r"holds checkpoint-3[\s\S]*another `output_dir`"):
        find_checkpoint(cfg, identity_of(out), print)
    newest = SavingSection(output_dir=str(out), resume_from_checkpoint=f"{out}/./checkpoint-3")
    assert find_checkpoint(newest, identity_of(out), print).step == 3


def test_highest_number_is_newest_not_the_last_in_the_alphabet(out: Path) -> None:
    shutil.copytree(out / "checkpoint-3", out / "checkpoint-10")
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=True)
    assert find_checkpoint(cfg, identity_of(out), print).folder.name == "checkpoint-10"


def test_nothing_to_resume_from_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    cfg = SavingSection(output_dir=str(tmp_path / "new"), resume_from_checkpoint=True)
    assert find_checkpoint(cfg, IDENTITY, said.append) is None
    assert said == [f"no complete checkpoint in {tmp_path / 'new'}: starting anew"]


def test_checkpoint_of_another_program_is_not_complete(out: Path) -> None:
    file = out / "checkpoint-3" / "trainer_state.json"
    state = json.loads(file.read_text())
    del state["stateful_callbacks"]["CheckpointRecord"]
    file.write_text(json.dumps(state))
    assert problems_of(file.parent) == ["trainer_state.json was not written by this program"]


def test_leftovers_are_refused_only_when_beginning_anew(out: Path) -> None:
    refuse_leftovers(SavingSection(output_dir=str(out), resume_from_checkpoint=True))
    refuse_leftovers(SavingSection(output_dir=str(out / "elsewhere")))
    with pytest.raises(ConfigError, match="checkpoint-3"):
        refuse_leftovers(SavingSection(output_dir=str(out)))
