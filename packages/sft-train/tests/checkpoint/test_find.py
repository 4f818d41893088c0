from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer_pt_utils import safe_globals

from sft_schema import ConfigError, SftConfig
from sft_schema.config import SavingSection
from sft_train.checkpoint import find_checkpoint, refuse_leftovers
from sft_train.checkpoint.find import problems_of
from sft_train.checkpoint.manifest import write_manifest
from sft_train.run import run
from sft_train.testing import CHATML

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


def flip(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ("trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "config.json")
HARMS: dict[str, Callable[[Path], None]] = {
    "{} is missing": remove,
    "{} has": cut,
    "{} has other content than was written": flip,
}
TORN: list[tuple[str, Callable[[Path], None], str]] = [
    *((name, harm, problem.format(name)) for name in FILES for problem, harm in HARMS.items()),
    ("manifest.json", remove, "manifest.json is missing"),
    ("manifest.json", cut, "manifest.json cannot be read"),
]


def test_checkpoints_can_be_read_by_whoever_can_read_new_files(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    wanted = (tmp_path / "new").stat().st_mode
    assert {path.stat().st_mode for path in (finished / "checkpoint-3").iterdir()} == {wanted}


def test_others_can_read_a_checkpoint_and_none_of_it_is_code(finished: Path) -> None:
    folder = finished / "checkpoint-3"
    assert AutoModelForCausalLM.from_pretrained(folder).config.use_cache is True
    assert AutoTokenizer.from_pretrained(folder).chat_template == CHATML
    archives = {each.name for each in folder.iterdir() if each.suffix not in (".json", ".jinja", ".safetensors")}
    assert archives == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    with safe_globals():
        assert all(torch.load(folder / name, weights_only=True) for name in archives)


@pytest.mark.parametrize(("name", "harm", "problem"), TORN)
def test_torn_newest_checkpoint_is_skipped_with_the_reason(
    out: Path, name: str, harm: Callable[[Path], None], problem: str
) -> None:
    harm(out / "checkpoint-3" / name)
    said: list[str] = []
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=True)
    found = find_checkpoint(cfg, identity_of(out), 1, said.append)
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
        find_checkpoint(cfg, identity_of(out), 1, print)


def forget(folder: Path, *names: str) -> None:
    """Takes files away, and out of the manifest as well."""
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    for name in names:
        del content["files"][name]
        (folder / name).unlink()
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"])
def test_what_resuming_needs_is_asked_for_by_name(out: Path, name: str) -> None:
    """A manifest that agrees with the folder does not make it complete."""
    forget(out / "checkpoint-3", name)
    (problem,) = problems_of(out / "checkpoint-3")
    assert name in problem


def test_each_process_needs_its_random_state(out: Path) -> None:
    folder = out / "checkpoint-3"
    file = folder / "trainer_state.json"
    state = json.loads(file.read_text())
    state["stateful_callbacks"]["CheckpointRecord"]["args"]["processes"] = 2
    file.write_text(json.dumps(state))
    (folder / "rng_state.pth").rename(folder / "rng_state_0.pth")
    write_manifest(folder)
    assert problems_of(folder) == ["manifest.json does not list rng_state_1.pth"]


def test_files_that_others_add_do_not_matter(out: Path) -> None:
    (out / "checkpoint-3" / "notes.txt").write_text("the good one")
    assert problems_of(out / "checkpoint-3") == []


def test_no_complete_checkpoint_among_several_is_refused_and_not_begun_anew(out: Path) -> None:
    for number in (1, 2, 3):
        remove(out / f"checkpoint-{number}" / "optimizer.pt")
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=True)
    with pytest.raises(ConfigError, match=r"is complete[\s\S]*checkpoint-1: optimizer.pt is missing"):
        find_checkpoint(cfg, IDENTITY, 1, print)


def test_another_number_of_processes_is_said(out: Path) -> None:
    said: list[str] = []
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=True)
    find_checkpoint(cfg, identity_of(out), 2, said.append)
    assert any("is of 1 processes and this run has 2" in text for text in said)


def test_named_checkpoint_is_taken_though_it_is_not_the_newest(out: Path, tmp_path: Path) -> None:
    cfg = SavingSection(output_dir=str(tmp_path / "other"), resume_from_checkpoint=str(out / "checkpoint-1"))
    assert find_checkpoint(cfg, identity_of(out), 1, print).step == 1


def test_named_checkpoint_is_refused_beside_a_newer_one(out: Path) -> None:
    """The new run's checkpoints would mix with those of the run that it branches off from."""
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=str(out / "checkpoint-1"))
    with pytest.raises(ConfigError, match=r"holds checkpoint-3[\s\S]*another `output_dir`"):
        find_checkpoint(cfg, identity_of(out), 1, print)
    newest = SavingSection(output_dir=str(out), resume_from_checkpoint=f"{out}/./checkpoint-3")
    assert find_checkpoint(newest, identity_of(out), 1, print).step == 3


def test_highest_number_is_newest_not_the_last_in_the_alphabet(out: Path) -> None:
    shutil.copytree(out / "checkpoint-3", out / "checkpoint-10")
    cfg = SavingSection(output_dir=str(out), resume_from_checkpoint=True)
    assert find_checkpoint(cfg, identity_of(out), 1, print).folder.name == "checkpoint-10"


def test_nothing_to_resume_from_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    cfg = SavingSection(output_dir=str(tmp_path / "new"), resume_from_checkpoint=True)
    assert find_checkpoint(cfg, IDENTITY, 1, said.append) is None
    assert said == [f"no checkpoint in {tmp_path / 'new'}: starting anew"]


def test_checkpoint_of_another_program_is_not_complete(out: Path) -> None:
    file = out / "checkpoint-3" / "trainer_state.json"
    state = json.loads(file.read_text())
    del state["stateful_callbacks"]["CheckpointRecord"]
    file.write_text(json.dumps(state))
    write_manifest(file.parent)
    assert problems_of(file.parent) == ["trainer_state.json was not written by this program"]


def test_leftovers_are_refused_only_when_beginning_anew(out: Path) -> None:
    refuse_leftovers(SavingSection(output_dir=str(out), resume_from_checkpoint=True))
    refuse_leftovers(SavingSection(output_dir=str(out / "elsewhere")))
    with pytest.raises(ConfigError, match="checkpoint-3"):
        refuse_leftovers(SavingSection(output_dir=str(out)))
