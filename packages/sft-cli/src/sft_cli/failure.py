"""An exception as a few lines on standard error and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback

import click

from sft_cli.visible import visible
from sft_schema.errors import ConfigError, ContractError, DataError, TrainingError

_BUG = "this is a fault in sft itself: run again with --debug and report what it prints"
_FIX_BY_NAME = {
    "OutOfMemoryError": "lower micro_batch_size or sequence_len, or set `gradient_checkpointing: true`",
    "MemoryError": "lower micro_batch_size or sequence_len, or use a machine with more memory",
    "ImportError": "install the missing package; --debug shows who needs it",
    "ModuleNotFoundError": "install the missing package; --debug shows who needs it",
    "OSError": "check the path it names; set another output_dir or dataset_prepared_path",
}


def report(error: Exception, *, debug: bool) -> int:
    """Prints cause and fix of `error`, with its traceback when `debug`, and returns the exit code."""
    if debug:
        click.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
    text, code = _told(error)
    # A process that `sft` has launched leaves it to the launcher, which shows the first error of all once.
    launched = sys.modules.get("sft_train.launch")
    if launched is None or not launched.tell_launcher(text):
        click.echo(visible(text), err=True)
    return code


def _told(error: Exception) -> tuple[str, int]:
    if isinstance(error, (ConfigError, DataError)):
        return str(error), 2
    if isinstance(error, TrainingError):
        return f"training stopped: {error}", 1
    cause = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {cause}\n    fix: {_fix_of(error)}", 1


def _fix_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "free disk space, or set another output_dir or dataset_prepared_path"
    if isinstance(error, ContractError):
        return _BUG
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((_FIX_BY_NAME[name] for name in names if name in _FIX_BY_NAME), f"if the input is right, {_BUG}")
