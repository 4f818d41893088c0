"""Servers on this machine: S3, GCS, HTTP with and without ETag, and a hub."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(command: list[str], address: str) -> subprocess.Popen[bytes]:
    """Starts a server and waits until it answers."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(150):
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except urllib.error.HTTPError:
            return server
        except OSError:
            time.sleep(0.2)
        else:
            return server
    server.kill()
    raise TimeoutError(f"{command[0]} does not answer at {address}")


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def s3(environment: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a moto server; its address goes where AWS tools look for it."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", address.rpartition(":")[2]]
    server = start(command, address)
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        environment.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def gcs(environment: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an emulator; its address goes where Google's tools look for it."""
    pytest.importorskip("gcp_storage_emulator")
    pytest.importorskip("gcsfs")
    port = free_port()
    arguments = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory", "--default-bucket=bucket"]
    program = Path(sys.executable).with_name("gcp-storage-emulator")
    server = start([str(program), *arguments], f"http://127.0.0.1:{port}/")
    environment.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    environment.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # else it talks gRPC, which the emulator cannot
    yield "gs://bucket"
    server.terminate()
    server.wait()


@dataclass
class Site:
    """An HTTP server of its own for files that a test puts there.

    Attributes:
        files: path to content.
        requests: what was asked for.
        etags: whether answers carry an ETag.
        cut: bytes after which a body breaks off, although its length was announced.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    etags: bool = True
    cut: int | None = None

    def absence(self, path: str) -> str:
        """How a hub says what is missing: a file of a repository, or the repository."""
        repository = "/".join(path.removeprefix("/api").split("/")[:4])
        known = any(each.startswith(f"{repository}/") for each in self.files)
        return "EntryNotFound" if known else "RepoNotFound"


def handler(site_of: list[Site]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            site = site_of[0]
            site.requests.append(f"{self.command} {self.path}")
            content = site.files.get(self.path.partition("?")[0])
            headers = {"X-Error-Code": site.absence(self.path)} if content is None else {}
            if "/resolve/" in self.path:
                headers["X-Repo-Commit"] = self.path.partition("/resolve/")[2].partition("/")[0]
            self.send_response(404 if content is None else 200)
            content = content or b"{}"
            self.send_header("Content-Length", str(len(content)))
            if site.etags:
                headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content[: site.cut])
                self.close_connection = site.cut is not None

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    holder: list[Site] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(holder))
    holder.append(Site(f"http://127.0.0.1:{server.server_port}"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield holder[0]
    server.shutdown()
    server.server_close()


@pytest.fixture
def lines() -> bytes:
    return "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(8)).encode()


@pytest.fixture
def clean_environment() -> dict[str, str]:
    """This process's environment without what would send a child to a proxy or keep it offline."""
    unwanted = ("_proxy", "_PROXY", "HF_", "TRANSFORMERS_")
    return {name: value for name, value in os.environ.items() if not any(each in name for each in unwanted)}
