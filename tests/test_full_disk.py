"""A disk that is full, and files that may not grow: a clear error, and the last checkpoint is still good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sft_train.testing import tiny_model, write_conversations

SETTINGS = """\
base_model: {folder}/model
datasets: [{{path: {folder}/train.jsonl}}]
dataset_prepared_path: {folder}/prepared
output_dir: {out}
sequence_len: 256
learning_rate: 1e-3
max_steps: 6
save_steps: 2
save_total_limit: 9
"""

COMMON = """\
import ctypes, os, pathlib, resource, subprocess, sys
from sft_schema import TrainingError, load_config
from sft_train.checkpoint.find import problems_of
from sft_train.run import run

out = pathlib.Path({out!r})
def train(*overrides):
    return run(load_config({config!r}, overrides))

def names():
    return sorted(each.name for each in out.iterdir() if each.is_dir())
"""

# A file system of its own for this process alone. A checkpoint takes about 0.5 MiB.
FULL = """
NEW_NAMES, NEW_USERS = 0x00020000, 0x10000000
kinds = NEW_NAMES if os.geteuid() == 0 else NEW_NAMES | NEW_USERS
if ctypes.CDLL(None, use_errno=True).unshare(kinds):
    sys.exit(77)
def mount(*arguments):
    if subprocess.run(["mount", *arguments], check=False).returncode:
        sys.exit(77)
if os.geteuid() == 0:
    mount("--make-rprivate", "/")
out.mkdir(parents=True)
mount("-t", "tmpfs", "-o", "size=" + {size!r}, "tmpfs", str(out))
try:
    train()
except TrainingError as error:
    print(error)
    assert "could not be written" in str(error) and "MiB are free there" in str(error), error
    assert "free disk space" in error.fix, error.fix
    wanted = {kept!r}
    assert names() == wanted, names()
    assert all(problems_of(out / name) == [] for name in wanted)
    assert not wanted or wanted[-1] + " is untouched" in str(error), error
else:
    sys.exit("the disk was not full")
mount("-o", "remount,size=64m", str(out))
assert train("resume_from_checkpoint=true").resumed_from == (str(out / wanted[-1]) if wanted else None)
assert names() == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
"""

LIMITED = """
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, resource.RLIM_INFINITY))
try:
    train()
except TrainingError as error:
    print(error)
    assert "could not be written" in str(error), error
    assert "there is no checkpoint before it" in str(error), error
    assert names() == [], names()
else:
    sys.exit("the file was not too large")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    tiny_model(folder / "model")
    write_conversations(folder / "train.jsonl", 12, seed=3)
    return folder


def run_code(folder: Path, out: Path, forks: Any, code: str, **values: Any) -> None:
    config = folder / f"{out.name}.yaml"
    config.write_text(SETTINGS.format(folder=folder, out=out))
    forks.start((COMMON + code).format(out=str(out), config=str(config), **values))
    ended = forks.wait()
    if ended == [77]:
        pytest.skip("this user may not mount a file system of its own")
    assert ended == [0], forks.output()


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ("300k", []),
        ("900k", ["checkpoint-2"]),
        ("1200k", ["checkpoint-2", "checkpoint-4"]),
        ("1600k", ["checkpoint-2", "checkpoint-4", "checkpoint-6"]),  # no room for the result
    ],
)
def test_a_full_disk_is_said_and_the_last_checkpoint_stays(
    folder: Path, tmp_path: Path, forks: Any, size: str, kept: list[str]
) -> None:
    run_code(folder, tmp_path / f"full{size}", forks, FULL, size=size, kept=kept)


@pytest.mark.parametrize("limit", [20_000, 150_000, 250_000])
def test_files_that_may_not_grow_are_said(folder: Path, tmp_path: Path, forks: Any, limit: int) -> None:
    """The limit is met by safetensors, or by torch in the optimizer's state."""
    run_code(folder, tmp_path / f"limited{limit}", forks, LIMITED, bytes=limit)
