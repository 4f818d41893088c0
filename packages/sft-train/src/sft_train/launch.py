"""One process per device: starts them through torchrun's or accelerate's library, and says which failed first.

A process that fails writes its error to a file that torch names (TORCHELASTIC_ERROR_FILE); the launcher ends the
others and shows that error once. See torch.distributed.elastic.multiprocessing.errors.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from sft_schema import ConfigError, Issue
from sft_train.env import environment, error_file, in_process_group

Launcher = Literal["torchrun", "accelerate", "none"]
_PATIENCE = 25
"""Seconds that processes get to end by themselves when one has failed, or the job is told to stop."""
_MARKS = {"SFT_LAUNCHED": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_PATIENCE)}
_MEETING = {
    "--nnodes",
    "--rdzv-backend",
    "--rdzv-endpoint",
    "--rdzv-id",
    "--master-addr",
    "--master-port",
    "--standalone",
}
"""Arguments by which processes of several machines find one another."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The first process that failed.

    Attributes:
        rank: its number among all processes.
        exit_code: negative for a signal.
        message: what went wrong, in its own words or in those of the signal.
    """

    rank: int
    exit_code: int
    message: str


def processes_to_launch(launcher: Launcher | None, arguments: Sequence[str]) -> Launcher:
    """How a run is started: as asked; without a word with torchrun where several GPUs are visible.

    A process that was launched already runs as it is.
    """
    if in_process_group() or launcher == "none":
        return "none"
    if launcher is not None:
        return launcher
    return "torchrun" if arguments or torch.cuda.device_count() > 1 else "none"


def launch(launcher: Launcher, command: Sequence[str], arguments: Sequence[str]) -> Failure | None:
    """Runs a command of `sft` in one process per device, and waits for all of them.

    Args:
        launcher: `torchrun` or `accelerate`.
        command: of `sft`, such as `["train", "config.yaml"]`.
        arguments: of the launcher, such as `["--nproc-per-node", "4"]`; as many processes as GPUs by default.

    Returns:
        The first failure; None when all processes ended well.

    Raises:
        ConfigError: the launcher does not know an argument.
    """
    worker = ["-m", "sft_cli", *command]
    with environment(_MARKS):
        try:
            if launcher == "accelerate":
                launch_command(_parsed(launch_command_parser(), [*arguments, *worker]))
            else:
                torchrun.run(_torchrun([*arguments, *worker], arguments))
        except ChildFailedError as error:
            return first_failure(error.failures)
        except SignalException as error:
            return Failure(-1, 128 + int(error.sigval), f"the launcher was stopped by {error.sigval.name}")
    return None


def _torchrun(words: list[str], arguments: Sequence[str]) -> Any:
    """Torchrun's arguments: by default a process for each GPU of this machine, which meet at a free port."""
    given = {word.split("=")[0].replace("_", "-") for word in arguments if word.startswith("--")}
    usual: list[str] = []
    if "--nproc-per-node" not in given:
        usual = ["--nproc-per-node", str(max(torch.cuda.device_count(), 1))]
    if not given & _MEETING:
        usual.append("--standalone")
    return _parsed(torchrun.get_args_parser(), [*usual, *words])


def _parsed(parser: Any, words: list[str]) -> Any:
    try:
        return parser.parse_args(words)
    except SystemExit as error:
        message = "the launcher does not understand what stands after `--` (it says why above)"
        fix = "write its own arguments there, such as `-- --nproc-per-node 2`"
        raise ConfigError([Issue("launcher_arguments", (), message, fix, file="command line")]) from error


def first_failure(failures: dict[int, ProcessFailure]) -> Failure:
    """Which of several failures was the cause: a process that was killed, or else the one that failed first.

    Those that wait for a dead process fail of it, within the same second. The launcher ends what is left with SIGTERM,
    and with SIGKILL when that takes too long, which is no cause.
    """
    told_at = {rank: _exact(each) for rank, each in failures.items()}
    earliest = min((each for each in told_at.values() if each is not None), default=None)

    def order(item: tuple[int, ProcessFailure]) -> tuple[int, float]:
        rank, failure = item
        exact = told_at[rank]
        if failure.exitcode >= 0:
            return 1, float(failure.timestamp) if exact is None else exact
        ended_by_us = earliest is not None and earliest < failure.timestamp - _PATIENCE + 5
        return 2 if failure.exitcode == -signal.SIGTERM or ended_by_us else 0, float(failure.timestamp)

    rank, failure = min(failures.items(), key=order)
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        return Failure(rank, failure.exitcode, f"it was killed by {name}, for lack of memory perhaps")
    said: Any = failure.error_file_data.get("message")
    told = said["message"] if isinstance(said, dict) else "it said nothing"
    return Failure(rank, failure.exitcode, told)


def _exact(failure: ProcessFailure) -> float | None:
    """When a process told its error, in seconds since the epoch; torch keeps whole ones."""
    said: Any = failure.error_file_data.get("message")
    return said.get("exact") if isinstance(said, dict) else None


def tell_launcher(message: str) -> bool:
    """Leaves the error of this process to the launcher to show; False where there is none that would."""
    path = error_file()
    if path is None:
        return False
    now = time.time()
    said = {"message": message, "exact": now, "extraInfo": {"timestamp": int(now)}}
    Path(path).write_text(json.dumps({"message": said}), encoding="utf-8")
    return True
