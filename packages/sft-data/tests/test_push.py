"""Prepared data in a data set of the hub, on a server of this machine that answers the hub's client."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
import pytest

from sft_data import prepare
from sft_data.store import stores_of
from sft_schema import DataError
from sft_schema.config import DataSection

WRITER, READER = "hf_writerssecrettoken", "hf_readerssecrettoken"
REPO = "somebody/prepared"
PROGRAM = """
import sys
from sft_data import prepare
from sft_schema import DataError, parse_config
if sys.argv[2] == "fetch":
    sys.modules["sft_data.prepare"]._build = None  # nothing may be prepared
try:
    print(prepare(parse_config(sys.argv[1])).folder.resolve())
except DataError as error:
    print(error)
"""


@dataclass
class Hub:
    """Data sets of the hub, as far as its client asks for them when it uploads and downloads.

    Attributes:
        repos: id to path to content.
        private: ids of those that only the two tokens may see.
        uploads: sha256 to content, not yet in a commit.
        commits: the paths of each commit.
    """

    address: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    uploads: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)

    def create(self, given: Any, **_: Any) -> Any:
        name = f"{given['organization']}/{given['name']}"
        if given["visibility"] == "private" and name not in self.repos:
            self.private.add(name)
        answer = {"url": f"{self.address}/datasets/{name}"}
        return (409, answer) if self.repos.setdefault(name, {}) else answer

    def preupload(self, given: Any, **_: Any) -> Any:
        modes = ((each["path"], "lfs" if each["path"].endswith(".arrow") else "regular") for each in given["files"])
        return {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]}

    def batch(self, given: Any, **_: Any) -> Any:
        def actions(oid: str) -> dict[str, Any]:
            return {"upload": {"href": f"{self.address}/lfs/{oid}"}}

        objects = [
            {"oid": each["oid"], "size": each["size"], "actions": actions(each["oid"])} for each in given["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def commit(self, given: list[Any], repo: str, **_: Any) -> Any:
        paths: list[str] = []
        for line in given:
            kind, value = line["key"], line["value"]
            if kind == "header":
                continue
            paths.append(value["path"])
            content = self.uploads[value["oid"]] if kind == "lfsFile" else base64.b64decode(value["content"])
            self.repos[repo][value["path"]] = content
        self.commits.append(paths)
        return {"commitUrl": f"{self.address}/datasets/{repo}/commit/1", "commitOid": "1" * 40, "success": True}

    def info(self, repo: str, **_: Any) -> Any:
        return {"id": repo, "sha": "1" * 40, "siblings": [], "tags": [], "private": repo in self.private}

    def entries(self, repo: str) -> list[dict[str, Any]]:
        files = self.repos[repo]
        folders = {str(parent) for path in files for parent in Path(path).parents} - {"."}
        found = [{"type": "directory", "path": each, "size": 0, "oid": "0" * 40} for each in folders]
        for path, content in files.items():
            oid = hashlib.sha1(content).hexdigest()
            found.append({"type": "file", "path": path, "size": len(content), "oid": oid})
        return found

    def tree(self, repo: str, path: str, **_: Any) -> Any:
        return [each for each in self.entries(repo) if str(Path(each["path"]).parent) == (path or ".")]

    def paths_info(self, given: Any, repo: str, **_: Any) -> Any:
        return [each for each in self.entries(repo) if each["path"] in given["paths"]]

    def answer(self, path: str, token: str, body: bytes) -> Any:
        """A JSON value, bytes of a file, or (status, JSON value)."""
        kind, *parts = path.strip("/").removeprefix("api/").split("/")
        if kind == "lfs":
            self.uploads[parts[0]] = body
            return {}
        repo = "/".join(parts[:2]).removesuffix(".git")
        what, below = (parts[2] if len(parts) > 2 else "revision"), "/".join(parts[4:])
        writes = what in ("create", "preupload", "info", "commit") or parts == ["create"]
        if writes and token != WRITER:
            return (403 if token else 401), {"error": "You don't have the rights to write there"}
        if parts != ["create"] and (repo not in self.repos or (repo in self.private and not token)):
            return 401, {"error": "Repository not found", "X-Error-Code": "RepoNotFound"}
        if what == "resolve":
            return self.repos[repo].get(below, (404, {"X-Error-Code": "EntryNotFound"}))
        lines = [json.loads(line) for line in body.splitlines()]
        given: Any = lines if what == "commit" else lines[0] if lines else {}
        does: dict[str, Callable[..., Any]] = {
            "preupload": self.preupload, "info": self.batch, "commit": self.commit, "tree": self.tree,
            "paths-info": self.paths_info, "revision": self.info,
        }  # fmt: skip
        return (self.create if parts == ["create"] else does[what])(given=given, repo=repo, path=below)


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b"".join(iter(self.chunk, b""))
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            found = hub.answer(unquote(self.path.partition("?")[0]), token, body)
            status, value = found if isinstance(found, tuple) else (200, found)
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if isinstance(value, dict) and "X-Error-Code" in value:
                self.send_header("X-Error-Code", value["X-Error-Code"])
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = respond  # noqa: N815

        def chunk(self) -> bytes:
            content = self.rfile.read(int(self.rfile.readline(), 16))
            self.rfile.readline()
            return content

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


@dataclass
class Machines:
    """Runs a preparation in a process of its own, on machines that have folders and nothing else of their own."""

    hub: Hub
    folder: Path
    config: str

    def run(self, machine: str, token: str, mode: str = "prepare", **settings: str) -> str:
        """The prepared folder, or the error."""
        home = self.folder / machine
        home.mkdir(exist_ok=True)
        unwanted = ("_proxy", "_PROXY", "HF_", "TRANSFORMERS_")
        environment = {name: value for name, value in os.environ.items() if not any(each in name for each in unwanted)}
        environment |= {"HF_ENDPOINT": self.hub.address, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_TOKEN": token} if token else {}
        config = json.dumps(json.loads(self.config) | settings)
        command = [sys.executable, "-c", PROGRAM, config, mode]
        done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not any(each in done.stdout + done.stderr for each in (WRITER, READER))
        return done.stdout.strip()


@pytest.fixture
def machines(hub: Hub, workspace: Any) -> Machines:
    chats = [[("user", f"question {number}"), ("assistant", "first answer")] for number in range(5)]
    data = workspace.chats("a.jsonl", *chats, [("user", "no answer to a secret")])
    config = {
        "base_model": str(workspace.tokenizer),
        "datasets": [{"path": str(data)}],
        "learning_rate": 1e-3,
        "val_set_size": 2,
        "dataset_prepared_path": "prepared",
    }
    return Machines(hub, workspace.folder, json.dumps(config))


def contents(folder: str | Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in Path(folder).iterdir() if each.name != ".stores"}


def test_what_is_pushed_another_machine_takes_and_prepares_nothing(machines: Machines, hub: Hub) -> None:
    made = machines.run("one", WRITER, push_dataset_to_hub=REPO)
    home = contents(made)
    assert set(home) == {"shard-00000.arrow", "train.arrow", "eval.arrow", "quarantine.jsonl", "manifest.json"}
    assert b"nothing_to_train" in home.pop("quarantine.jsonl"), "it stays at home"
    assert hub.private == {REPO}
    assert {Path(path).name: content for path, content in hub.repos[REPO].items()} == home
    assert {str(Path(path).parent) for path in hub.repos[REPO]} == {Path(made).name}
    assert [Path(path).name for path in hub.commits[-1]] == ["manifest.json"], "the last one to be there"
    commits = len(hub.commits)
    taken = machines.run("two", READER, "fetch", push_dataset_to_hub=REPO)
    assert Path(taken).is_relative_to(machines.folder / "two")
    assert contents(taken) == home
    hub.repos.clear()  # what is known to be there is not asked for again
    assert machines.run("two", READER, "fetch", push_dataset_to_hub=REPO) == taken
    assert len(hub.commits) == commits


def test_a_folder_of_a_data_set_can_be_the_only_place(machines: Machines, hub: Hub) -> None:
    address = f"hf://datasets/{REPO}/some/where"
    made = Path(machines.run("one", WRITER, dataset_prepared_path=address))
    assert made.parent == machines.folder / "one" / "last_run_prepared"
    assert f"some/where/{made.name}/manifest.json" in hub.repos[REPO]
    taken = machines.run("two", READER, "fetch", dataset_prepared_path=address)
    assert contents(taken).items() < contents(made).items()


def test_data_that_are_prepared_already_are_pushed_when_that_is_asked_for(machines: Machines, hub: Hub) -> None:
    made = machines.run("one", "")
    assert not hub.repos
    said = machines.run("one", READER, "fetch", push_dataset_to_hub=REPO)
    assert f"hf://datasets/{REPO}: prepared data cannot be written: 403" in said
    assert f"set HF_TOKEN, as one who may write to {REPO}, and run again" in said
    assert not (Path(made) / ".stores").exists()
    assert machines.run("one", WRITER, "fetch", push_dataset_to_hub=REPO) == made
    assert any(path.endswith("manifest.json") for path in hub.repos[REPO])


def test_a_private_data_set_is_not_read_without_a_login_and_a_changed_one_is_named(
    machines: Machines, hub: Hub
) -> None:
    made = machines.run("one", WRITER, push_dataset_to_hub=REPO)
    said = machines.run("two", "", push_dataset_to_hub=REPO)
    assert "cannot be written: Client error '401 Unauthorized'" in said, (
        "it may be there or not; the data were prepared here"
    )
    files, shard = hub.repos[REPO], f"{Path(made).name}/shard-00000.arrow"
    files[shard] = changed(files[shard])
    said = machines.run("three", READER, "fetch", push_dataset_to_hub=REPO)
    assert f"hf://datasets/{REPO}/{Path(made).name}: the copy is damaged: shard-00000.arrow: its SHA-256 is not" in said
    assert "delete that folder of the store" in said
    left = (machines.folder / "three" / "prepared").iterdir()
    assert [each.suffix for each in left] == [".lock"], "nothing of it stays"


def changed(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def test_a_damaged_copy_is_refused_from_every_store(
    workspace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = workspace.chats("a.jsonl", *[[("user", f"question {number}"), ("assistant", "yes")] for number in range(5)])
    cfg = workspace.config(data, val_set_size=2, dataset_prepared_path="memory://prepared")
    made = prepare(cfg).folder
    store, folder = fsspec.filesystem("memory"), f"/prepared/{made.name}"
    whole = {name: store.cat(f"{folder}/{name}") for name in ("manifest.json", "train.arrow", "shard-00000.arrow")}
    damages = {
        "train.arrow: 2 samples, and the manifest counts 3": ("train.arrow", store.cat(f"{folder}/eval.arrow")),
        "shard-00000.arrow: its SHA-256 is not": ("shard-00000.arrow", changed(whole["shard-00000.arrow"])),
        "manifest.json: damaged: ": ("manifest.json", whole["manifest.json"][:-9]),
        f"manifest.json: it is that of {'0' * 16}": (
            "manifest.json",
            whole["manifest.json"].replace(made.name.encode(), b"0" * 16),
        ),
    }
    for said, (name, content) in damages.items():
        shutil.rmtree(made)
        store.pipe_file(f"{folder}/{name}", content)
        with pytest.raises(DataError) as caught:
            prepare(cfg)
        assert f"memory://prepared/{made.name}: the copy is damaged: {said}" in str(caught.value)
        assert not made.exists()
        store.pipe_file(f"{folder}/{name}", whole[name])
        assert prepare(cfg).folder == made


@pytest.mark.parametrize("address", ["hf://models/a/b", "hf://datasets/a", "hf://datasets/a/b@main", "hf://a/b"])
def test_an_address_of_the_hub_that_is_no_data_set_is_refused(address: str) -> None:
    cfg = DataSection.model_validate({"datasets": ({"path": "a.jsonl"},), "dataset_prepared_path": address})
    with pytest.raises(DataError, match="hf://datasets/OWNER/NAME"):
        stores_of(cfg)
