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

SFT = Path(sys.executable).with_name("sft")


class Terminal:
    """Runs `sft` with a pseudo-terminal as its standard streams.

    Args:
        arguments: after `sft`.
        folder: where it runs.
    """

    def __init__(self, arguments: Sequence[str | Path], folder: Path) -> None:
        self._end, inner = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "FORCE_COLOR")}
        environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "xterm", "COLUMNS": "100"}
        command = [str(SFT), *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=_in_front,
        )
        os.close(inner)
        self.seen = ""
        self._read_to = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._end)

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
        os.write(self._end, keys.encode())

    def wait(self, seconds: float = 120) -> int:
        """Reads on to the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, f"it does not end: {self.seen!r}"
        return self.process.wait(seconds)

    def _read(self) -> bool:
        """Whether it goes on."""
        if not select.select([self._end], [], [], 1)[0]:
            return True
        try:
            data = os.read(self._end, 65536)
        except OSError:  # Linux says EIO when the other end is closed
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)


def _in_front() -> None:
    """In the new process: the terminal is its own, so that Ctrl-C reaches it, and it does not ignore it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
