"""Headless Chromium, driven over a pipe with its DevTools protocol (https://chromedevtools.github.io/devtools-protocol).

The standard library is enough: messages are JSON, ended by a NUL, on the descriptors 3 (to it) and 4 (from it).
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--no-first-run", "--hide-scrollbars", "--force-device-scale-factor=1"),
    "--remote-debugging-pipe",
)

_MOVED = """
import fcntl, os, sys
one, two = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in ({}, {}))
os.dup2(one, 3)
os.dup2(two, 4)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Where Chromium looks for the pipe."""


class Page:
    """One page of a browser of its own; what it asked for and complained about is kept.

    Args:
        address: what to open.
        profile: an empty folder.

    Attributes:
        requests: addresses that it asked for, in order.
        complaints: what its console and its security policy said at the levels warning and error, and exceptions.
    """

    def __init__(self, address: str, profile: Path) -> None:
        assert CHROMIUM is not None
        (to_read, self._to), (self._from, to_write) = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _MOVED.format(to_read, to_write),
                CHROMIUM,
                *_FLAGS,
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stderr=subprocess.DEVNULL,
            pass_fds=(to_read, to_write),
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self._count, self._text, self._session = 0, b"", None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = next(each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            answer = self._next(end)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError(f"{method} has no answer")

    def js(self, expression: str) -> Any:
        """The value of an expression; of a promise what it becomes."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < end, f"never: {expression}; {self.complaints}"
            time.sleep(0.05)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int, **more: Any) -> None:
        """Presses a key; `code` is its virtual key code."""
        for kind in ("rawKeyDown", "char", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "char" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text, **more)

    def screenshot(self, file: Path, *, dark: bool = False, width: int = 900, height: int = 900) -> None:
        """Writes what it looks like."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": _THEME[dark]}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._text:
            assert select.select([self._from], [], [], max(0.0, end - time.monotonic()))[0], "the browser is silent"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser has ended"
            self._text += data
        line, _, self._text = self._text.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, found: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif method == "Log.entryAdded" and found["entry"]["level"] in ("warning", "error"):
            self.complaints.append(found["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and found["type"] in ("warning", "error"):
            self.complaints.append(str(found["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(found["exceptionDetails"]))


_THEME = {False: "light", True: "dark"}
