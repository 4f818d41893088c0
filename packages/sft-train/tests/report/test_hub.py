"""The result goes to the hub in one commit: to a server of this machine that answers the hub's client."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from sft_schema import ConfigError, SftConfig
from sft_train.observer import Silent
from sft_train.run import run

REPO, TOKEN = "somebody/tiny", "hf_writerssecrettoken"


class Hub:
    """Models of the hub, as far as its client asks for them when it uploads."""

    def __init__(self) -> None:
        self.address = ""
        self.private: dict[str, bool] = {}
        self.commits: list[dict[str, bytes]] = []

    def answer(self, path: str, lines: list[Any]) -> Any:
        if path == "/api/repos/create":
            self.private[f"{lines[0]['organization']}/{lines[0]['name']}"] = lines[0]["visibility"] == "private"
            return {"url": f"{self.address}/{REPO}"}
        if "/preupload/" in path:
            files = (
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in lines[0]["files"]
            )
            return {"files": [*files]}
        if "/commit/" in path:
            files = [each["value"] for each in lines if each["key"] == "file"]
            self.commits.append({each["path"]: base64.b64decode(each["content"]) for each in files})
            return {"commitUrl": f"{self.address}/{REPO}/commit/{'1' * 40}", "commitOid": "1" * 40}
        return {"id": REPO, "sha": "1" * 40, "siblings": [], "tags": []}


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            chunked = self.headers.get("Transfer-Encoding") == "chunked"
            length = int(self.headers.get("Content-Length", 0))
            body = b"".join(iter(self.chunk, b"")) if chunked else self.rfile.read(length)
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            lines = [json.loads(line) for line in body.splitlines()]
            content = json.dumps(hub.answer(self.path, lines) if allowed else {"error": "no rights"}).encode()
            self.send_response(200 if allowed else 403)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = respond  # noqa: N815

        def chunk(self) -> bytes:
            content = self.rfile.read(int(self.rfile.readline(), 16))
            self.rfile.readline()
            return content

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    # The client reads its address from the environment when it is imported.
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


class Stages(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)


def test_the_result_and_its_card_are_uploaded_and_nothing_else(config: Callable[..., SftConfig], hub: Hub) -> None:
    cfg, stages = config(max_steps="2", save_steps="1", hub_model_id=REPO), Stages()
    run(cfg, stages)
    (commit,) = hub.commits
    assert hub.private == {REPO: True}
    assert commit.keys() >= {"model.safetensors", "config.json", "tokenizer.json", "manifest.json", "README.md"}
    assert not {name for name in commit if name.startswith("checkpoint-") or name in ("sft_config.yaml", ".lock")}
    assert all((Path(cfg.output_dir) / name).read_bytes() == content for name, content in commit.items())
    assert stages.said[-1] == f"uploaded to {hub.address}/{REPO}"


def test_who_may_not_write_there_is_told_before_anything_is_done(
    config: Callable[..., SftConfig], hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_readerssecrettoken")
    cfg = config(max_steps="2", hub_model_id=REPO, hub_private_repo="false")
    with pytest.raises(ConfigError, match=f"{REPO} cannot be made on the hub: .*403") as caught:
        run(cfg)
    assert "hf auth login" in str(caught.value)
    assert "secrettoken" not in str(caught.value)
    assert hub.commits == []
    assert not (Path(cfg.output_dir) / "metrics.jsonl").exists()
    with pytest.raises(ConfigError, match="a/b/c cannot be made"):
        run(config(max_steps="2", hub_model_id="a/b/c"))
