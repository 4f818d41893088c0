"""The newest checkpoint that is whole.

A process can be killed while it writes. The Trainer looks at folder names alone: it takes the highest number,
crashes on a torn one, and goes on silently with a fresh optimizer when only that file is missing.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sft_schema import ConfigError, Issue
from sft_schema.config import SavingSection
from sft_train.checkpoint.identity import check_identity

STATE = "trainer_state.json"
RECORD = "CheckpointRecord"
"""Name under which `sft_train.callback.CheckpointRecord` stores the run's identity in trainer_state.json."""

_FOLDER = re.compile(r"checkpoint-(\d+)")
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
_MODEL_ONLY = "it holds the model alone (`save_only_model: true`), and no run can go on from that"
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        folder: `.../checkpoint-N`.
        step: optimizer steps done.
    """

    folder: Path
    step: int


def find_checkpoint(cfg: SavingSection, identity: dict[str, Any], say: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint to go on from, or None to begin anew.

    Args:
        cfg: `resume_from_checkpoint` is true for the newest complete one in `output_dir`, or a folder.
        identity: of the run that wants to go on; see `run_identity`.
        say: is told which folders were skipped and why, and what was found.

    Raises:
        ConfigError: a folder was named and is not a complete checkpoint, or `output_dir` holds another one that
            is; or the checkpoint is of another run.
    """
    wanted = cfg.resume_from_checkpoint
    if wanted is False:
        return None
    folder = _newest(Path(cfg.output_dir), say) if wanted is True else _named(Path(wanted), Path(cfg.output_dir))
    if folder is None:
        _refuse_model_only(Path(cfg.output_dir))
        say(f"no complete checkpoint in {cfg.output_dir}: starting anew")
        return None
    record = json.loads((folder / STATE).read_text(encoding="utf-8"))
    check_identity(folder, record["stateful_callbacks"][RECORD]["args"]["identity"], identity)
    say(f"resuming from {folder}")
    return Checkpoint(folder, record["global_step"])


def _newest(output_dir: Path, say: Callable[[str], None]) -> Path | None:
    for folder in folders_in(output_dir):
        if not (problems := problems_of(folder)):
            return folder
        say(f"skipping {folder.name}, which is incomplete: {'; '.join(problems)}")
    return None


def _refuse_model_only(output_dir: Path) -> None:
    """Beginning anew in silence would throw away what these checkpoints hold."""
    for folder in folders_in(output_dir):
        if problems_of(folder) == [_MODEL_ONLY]:
            message = f"{folder}: {_MODEL_ONLY}, and {output_dir} has no other checkpoint"
            fix = f"begin a new run with `base_model: {folder}` and another `output_dir`"
            raise ConfigError([Issue("checkpoint_model_only", ("resume_from_checkpoint",), message, fix)])


def _named(folder: Path, output_dir: Path) -> Path:
    if problems := problems_of(folder):
        message = f"{folder} is not a complete checkpoint: {'; '.join(problems)}"
        fix = "name another folder, or set `resume_from_checkpoint: true` for the newest complete one"
        raise ConfigError([Issue("checkpoint_torn", ("resume_from_checkpoint",), message, fix)])
    newest = _newest(output_dir, say=lambda _: None)
    if newest is not None and newest.resolve() != folder.resolve():
        message = f"{output_dir} holds {newest.name}, which a later resume would take for this run's"
        fix = "choose another `output_dir`, or move that folder away"
        raise ConfigError([Issue("checkpoint_newer", ("resume_from_checkpoint",), message, fix)])
    return folder


def refuse_leftovers(cfg: SavingSection) -> None:
    """Refuses to begin anew among the checkpoints of an earlier run: a later resume could pick one of those.

    Raises:
        ConfigError: there are some and `resume_from_checkpoint` is not set.
    """
    folders = folders_in(Path(cfg.output_dir))
    if cfg.resume_from_checkpoint is not False or not folders:
        return
    message = f"{cfg.output_dir} holds checkpoints of an earlier run ({folders[0].name})"
    fix = "add `resume_from_checkpoint: true`, or choose another output_dir, or remove the folder"
    raise ConfigError([Issue("output_dir_in_use", ("output_dir",), message, fix)])


def folders_in(output_dir: Path) -> list[Path]:
    """Folders named checkpoint-N, the highest N first."""
    if not output_dir.is_dir():
        return []
    numbered = [
        (int(match[1]), path)
        for path in output_dir.iterdir()
        if (match := _FOLDER.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(numbered, reverse=True)]


def problems_of(folder: Path) -> list[str]:
    """What a folder lacks to be a complete checkpoint; empty when it is one."""
    if not folder.is_dir():
        return ["there is no such folder"]
    state = [*_state_problems(folder)]
    if _MODEL_ONLY in state:
        return [_MODEL_ONLY]  # what else is missing follows from that
    return [*state, *_weight_problems(folder), *_archive_problems(folder)]


def _state_problems(folder: Path) -> Iterator[str]:
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield f"{STATE} is missing"
        return
    except ValueError:
        yield f"{STATE} is cut off"
        return
    if RECORD not in state.get("stateful_callbacks", {}):
        yield f"{STATE} was not written by this program"
        return
    record = state["stateful_callbacks"][RECORD]["args"]
    if record.get("model_only"):
        yield _MODEL_ONLY
        return
    processes = record["processes"]
    names = ["rng_state.pth"] if processes == 1 else [f"rng_state_{i}.pth" for i in range(processes)]
    for name in names:
        if not (folder / name).is_file():
            yield f"{name} is missing"


def _weight_problems(folder: Path) -> Iterator[str]:
    index = folder / _INDEX
    if index.is_file():
        try:
            files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError):
            yield f"{_INDEX} is cut off"
            return
    else:
        files = [name for name in _WEIGHTS if (folder / name).is_file()]
    if not files:
        yield f"there is neither {' nor '.join(_WEIGHTS)}"
    for name in files:
        try:
            with safe_open(folder / name, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            yield f"{name} cannot be read ({error})"


def _archive_problems(folder: Path) -> Iterator[str]:
    for name in ("optimizer.pt", "scheduler.pt"):
        if not (folder / name).is_file():
            yield f"{name} is missing"
    for path in sorted([*folder.glob("*.pt"), *folder.glob("rng_state*.pth")]):
        # torch writes zip archives, whose directory stands at the end.
        if not zipfile.is_zipfile(path):
            yield f"{path.name} is cut off"
