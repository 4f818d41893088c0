"""The newest checkpoint that is whole.

The Trainer looks at folder names alone: it takes the highest number, crashes on a damaged one, and goes on silently
with a fresh optimizer when only that file is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_schema import ConfigError, Issue
from sft_schema.config import SavingSection
from sft_train.checkpoint.folders import folders_in, replaced_in
from sft_train.checkpoint.identity import check_identity
from sft_train.checkpoint.manifest import MANIFEST, differences, files_of

STATE = "trainer_state.json"
RECORD = "CheckpointRecord"
"""Name under which `sft_train.callback.CheckpointRecord` stores the run's identity in trainer_state.json."""

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
_SHARDS = "shards/"
_MODEL_ONLY = "it holds the model alone (`save_only_model: true`), and no run can go on from that"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        folder: `.../checkpoint-N`.
        step: optimizer steps done.
        logged: lines of this step in the log that it holds.
    """

    folder: Path
    step: int
    logged: int


def find_checkpoint(
    cfg: SavingSection, identity: dict[str, Any], processes: int, say: Callable[[str], None]
) -> Checkpoint | None:
    """The checkpoint to go on from, or None to begin anew.

    Args:
        cfg: `resume_from_checkpoint` is true for the newest complete one in `output_dir`, or a folder.
        identity: of the run that wants to go on; see `run_identity`.
        processes: of that run.
        say: is told which folders were skipped and why, and what was found.

    Raises:
        ConfigError: a folder was named and is not a complete checkpoint, or `output_dir` holds another one that
            is; or there are checkpoints and none is complete; or the checkpoint is of another run.
    """
    wanted = cfg.resume_from_checkpoint
    if wanted is False:
        return None
    output_dir = Path(cfg.output_dir)
    folder = _newest(output_dir, say) if wanted is True else _named(Path(wanted), output_dir)
    if folder is None:
        say(f"no checkpoint in {cfg.output_dir}: starting anew")
        return None
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    record = _record_of(state)
    check_identity(folder, record["identity"], identity)
    say(f"resuming from {folder}")
    if record["processes"] != processes:
        say(
            f"{folder.name} is of {record['processes']} processes and this run has {processes}: the order of the rows "
            "stays, dropout and noise are drawn anew"
        )
    step = state["global_step"]
    return Checkpoint(folder, step, sum(line["step"] == step for line in state["log_history"]))


def _newest(output_dir: Path, say: Callable[[str], None]) -> Path | None:
    folders = folders_in(output_dir)
    found: dict[Path, list[str]] = {}
    for folder in folders:
        found[folder] = problems_of(folder)
        if not found[folder]:
            return folder
        say(f"skipping {folder.name}, which is incomplete: {'; '.join(found[folder])}")
    _refuse_beginning_anew(output_dir, found)
    return None


def _refuse_beginning_anew(output_dir: Path, found: dict[Path, list[str]]) -> None:
    """A run that dies while it saves leaves no folder of that name, so these were damaged later, or not meant so."""
    for folder, problems in found.items():
        if problems == [_MODEL_ONLY]:
            message = f"{folder}: {_MODEL_ONLY}, and {output_dir} has no other checkpoint"
            fix = f"begin a new run with `base_model: {folder}` and another `output_dir`"
            raise ConfigError([Issue("checkpoint_model_only", ("resume_from_checkpoint",), message, fix)])
    if found:
        listed = "; ".join(f"{folder.name}: {', '.join(problems)}" for folder, problems in found.items())
        message = f"no checkpoint in {output_dir} is complete ({listed})"
        fix = "bring their files back, or begin anew: another `output_dir`, or remove these folders"
        raise ConfigError([Issue("checkpoint_torn", ("resume_from_checkpoint",), message, fix)])


def _named(folder: Path, output_dir: Path) -> Path:
    if problems := problems_of(folder):
        message = f"{folder} is not a complete checkpoint: {'; '.join(problems)}"
        fix = "name another folder, or set `resume_from_checkpoint: true` for the newest complete one"
        raise ConfigError([Issue("checkpoint_torn", ("resume_from_checkpoint",), message, fix)])
    newest = next((each for each in folders_in(output_dir) if not problems_of(each, contents=False)), None)
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
    output_dir = Path(cfg.output_dir)
    folders = [*folders_in(output_dir), *replaced_in(output_dir)]
    if cfg.resume_from_checkpoint is not False or not folders:
        return
    message = f"{cfg.output_dir} holds checkpoints of an earlier run ({folders[0].name})"
    fix = "add `resume_from_checkpoint: true`, or choose another output_dir, or remove the folder"
    raise ConfigError([Issue("output_dir_in_use", ("output_dir",), message, fix)])


def problems_of(folder: Path, *, contents: bool = True) -> list[str]:
    """What a folder lacks to be a complete checkpoint; empty when it is one.

    Args:
        folder: of a checkpoint.
        contents: also read all files and compare their SHA-256; else existence and size alone.
    """
    if not folder.is_dir():
        return ["there is no such folder"]
    return differences(folder, contents=contents) or [*_missing(folder)]


def _missing(folder: Path) -> Iterator[str]:
    """What a checkpoint has to have, beyond that its files are as they were written."""
    listed = files_of(folder).keys()
    if STATE not in listed:
        yield f"{MANIFEST} does not list {STATE}"
        return
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    if RECORD not in state.get("stateful_callbacks", {}):
        yield f"{STATE} was not written by this program"
        return
    record = _record_of(state)
    if record["model_only"]:
        yield _MODEL_ONLY
        return
    count = record["processes"]
    states = ["rng_state.pth"] if count == 1 else [f"rng_state_{i}.pth" for i in range(count)]
    for name in ("optimizer.pt", "scheduler.pt", *states):
        if name not in listed:
            yield f"{MANIFEST} does not list {name}"
    if not listed & set(_WEIGHTS) and not any(name.startswith(_SHARDS) for name in listed):
        yield f"{MANIFEST} lists none of {', '.join(_WEIGHTS)}"


def _record_of(state: dict[str, Any]) -> dict[str, Any]:
    return state["stateful_callbacks"][RECORD]["args"]
