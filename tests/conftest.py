"""What tests of several packages share."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LONGEST = ("test_quickstart.py", "test_torture.py", "test_invariance_table.py", "test_distributed.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest first: at the end of a run in several processes all but one of these would wait for them."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


class Forks:
    """Processes that run code with torch and transformers imported already; see forked.py.

    Args:
        folder: where their output goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._logs = folder, [folder / "0.txt"]
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            # without a GPU, whose driver a forked process could not use
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"},
        )
        self._running: list[int] = []

    def start(self, *codes: str) -> list[int]:
        """Starts a process for each piece of code; returns their ids."""
        assert self._server.stdin is not None
        self._logs = [self._folder / f"{number}.txt" for number in range(len(codes))]
        for log in self._logs:
            log.write_text("")
        jobs = [{"code": code, "log": str(log)} for code, log in zip(codes, self._logs, strict=True)]
        self._server.stdin.write(json.dumps(jobs) + "\n")
        self._running = self._answer(300)
        return self._running

    def wait(self, seconds: float = 120) -> list[int]:
        """Exit codes, once all have ended; kills those that take longer."""
        return self._answer(seconds)

    def run(self, *codes: str) -> None:
        """Runs pieces of code side by side, none of which may fail."""
        self.start(*codes)
        ended = self.wait()
        assert not any(ended), (ended, self.output())

    def output(self) -> str:
        """The end of what each of the last processes printed."""
        return "\n".join(log.read_text(errors="replace")[-5000:] for log in self._logs)

    def close(self) -> None:
        self._server.communicate()  # ends the input, and with it the server

    def _answer(self, seconds: float) -> list[int]:
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], seconds)[0]:
            for process in self._running:
                os.kill(process, signal.SIGKILL)
            pytest.fail(f"processes ran for over {seconds} s: {self.output()}")
        return json.loads(self._server.stdout.readline())


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts processes in milliseconds."""
    server = Forks(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()
