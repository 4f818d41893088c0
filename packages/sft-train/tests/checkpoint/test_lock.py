"""Two runs never share an output_dir, and a run that was killed keeps nobody out."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sft_schema import ConfigError
from sft_train.checkpoint import alone_in


def test_a_second_run_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with alone_in(tmp_path / "out", print):
        with (
            pytest.raises(ConfigError, match=rf"in use by another run \(process {os.getpid()} on ") as caught,
            alone_in(tmp_path / "out", print),
        ):
            pass
        with alone_in(tmp_path / "other", print):
            pass
    assert "choose another `output_dir`" in str(caught.value)
    with alone_in(tmp_path / "out", print):
        pass


def test_a_lock_ends_with_its_process_even_while_a_worker_of_it_lives(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    holder = os.fork()
    if not holder:
        with alone_in(tmp_path, print):
            worker = os.fork()
            if worker:
                os.write(tell, f"{worker}\n".encode())
            signal.pause()
    worker = int(os.read(ready, 20))
    try:
        with pytest.raises(ConfigError, match=f"process {holder} on "), alone_in(tmp_path, print):
            pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.kill(worker, 0)  # lives
        with alone_in(tmp_path, print):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written to"), alone_in(tmp_path / "file" / "out", print):
        pass
