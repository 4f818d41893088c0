"""A program in a terminal of its own, answered by keys."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

SFT = Path(sys.executable).with_name("sft")


SETTINGS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "xterm", "COLUMNS": "100"}
FORKED = """
import fcntl, os, signal, sys, termios
os.setsid()
end = os.open({name!r}, os.O_RDWR)
for stream in (0, 1, 2):
    os.dup2(end, stream)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.chdir({folder!r})
os.environ.pop("CI", None)
os.environ.update({settings!r})
sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", buffering=1, closefd=False)
sys.stderr = open(2, "w", buffering=1, closefd=False)
from sft_cli.main import main
sys.exit(main({arguments!r}))
"""
"""What a process that has torch imported already becomes, so that a test does not wait for it."""


class Terminal:
    """Runs `sft` with a pseudo-terminal as its standard streams.

    Args:
        arguments: after `sft`.
        folder: where it runs.
        forks: starts it in a process that has torch imported; see conftest.py. Without it in one of its own.
    """

    def __init__(self, arguments: Sequence[str | Path], folder: Path, forks: Any = None) -> None:
        self._end, inner = pty.openpty()
        self.seen = ""
        self._read_to = 0
        self._forks, self._process = forks, None
        self._inner: int | None = None
        words = [*map(str, arguments)]
        if forks is not None:
            forks.start(FORKED.format(name=os.ttyname(inner), folder=str(folder), settings=SETTINGS, arguments=words))
            self._inner = inner  # a terminal that all have closed is gone: not before the other has opened it
            return
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "FORCE_COLOR")}
        self._process = subprocess.Popen(
            [str(SFT), *words],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            cwd=folder,
            env=environment | SETTINGS,
            start_new_session=True,
            preexec_fn=_in_front,
        )
        os.close(inner)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._end)  # which ends what still runs in it, as a window does that is closed
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def until(self, text: str, seconds: float = 120) -> str:
        """Waits for a text after what was waited for before; returns all that came up to its end."""
        end = time.monotonic() + seconds
        while text not in self.seen[self._read_to :]:
            assert time.monotonic() < end, f"no {text!r} in {self.seen!r}"
            if not self._read():
                raise AssertionError(f"it ended without {text!r}: {self.seen!r}")
        start = self._read_to
        self._read_to = self.seen.index(text, start) + len(text)
        return self.seen[start : self._read_to]

    def type(self, keys: str) -> None:
        r"""Presses keys: a line feed is Enter, `\x03` Ctrl-C, `\x04` Ctrl-D."""
        # A person sees a prompt first. A Ctrl-C between the prompt and the read is heard only after Enter.
        time.sleep(0.5 if keys == "\x03" else 0.05)
        os.write(self._end, keys.encode())

    def wait(self, seconds: float = 120) -> int:
        """Reads on to the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, f"it does not end: {self.seen!r}"
        if self._process is not None:
            return self._process.wait(seconds)
        (code,) = self._forks.wait(seconds)
        return code

    def _read(self) -> bool:
        """Whether it goes on."""
        if not select.select([self._end], [], [], 1)[0]:
            return True
        try:
            data = os.read(self._end, 65536)
        except OSError:  # Linux says EIO when the other end is closed
            return False
        if self._inner is not None:
            os.close(self._inner)
            self._inner = None
        self.seen += data.decode("utf-8", "replace")
        return bool(data)


def _in_front() -> None:
    """In the new process: the terminal is its own, so that Ctrl-C reaches it, and it does not ignore it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
