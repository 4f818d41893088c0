"""The optional packages, each asked for in one place."""

from __future__ import annotations

from pathlib import Path

from transformers.integrations import TensorBoardCallback

from sft_schema import ConfigError, Issue


def tensorboard_callback(folder: Path) -> TensorBoardCallback:
    """Writes what is logged as TensorBoard events in `folder`.

    Raises:
        ConfigError: tensorboard is not installed.
    """
    try:
        callback = TensorBoardCallback()
    except RuntimeError:
        message = "tensorboard is not installed"
        fix = "install `sft-train[tensorboard]`, or set `use_tensorboard: false`"
        raise ConfigError([Issue("not_installed", ("use_tensorboard",), message, fix)]) from None
    callback.logging_dir = str(folder)
    return callback
