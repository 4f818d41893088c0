"""A data set of the hub, downloaded from a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMITS = {"main": "a" * 40, "v2": "b" * 40}

READ = """
import json, sys
from sft_data.row import Row
from sft_data.source import fingerprint_source, read_rows
from sft_schema import DataError
from sft_schema.config import DatasetConfig
for settings in json.loads(sys.argv[1]):
    cfg = DatasetConfig.model_validate_json(json.dumps({"path": "some/data", **settings}))
    try:
        rows = list(read_rows(cfg))
        print(json.dumps([[row.values for row in rows], rows[0].origin.place, fingerprint_source(cfg)]))
    except DataError as error:
        print(json.dumps(str(error)))
"""


def publish(site: Any, revision: str, files: dict[str, bytes]) -> None:
    """Makes the server answer for a data set of these files, as far as the datasets library asks."""
    commit, api = COMMITS[revision], "/api/datasets/some/data"
    listed = [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for name, content in files.items()
    ]
    folder = {"type": "directory", "path": "data", "size": 0, "oid": "0" * 40}
    info = {"id": "some/data", "sha": commit, "siblings": [{"rfilename": name} for name in files], "tags": []}
    for name in (revision, commit):
        site.files[f"{api}/revision/{name}"] = json.dumps(info).encode()
        site.files[f"{api}/tree/{name}"] = json.dumps([folder]).encode()
        site.files[f"{api}/tree/{name}/data"] = json.dumps(listed).encode()
        site.files[f"{api}/paths-info/{name}"] = json.dumps([folder, *listed]).encode()
        for path, content in files.items():
            site.files[f"/datasets/some/data/resolve/{name}/{path}"] = content
    if revision == "main":
        site.files[api] = json.dumps(info).encode()


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text, "more": None}) + "\n" for text in texts).encode()


def test_a_hub_data_set_is_read_by_split_revision_and_file(
    site: Any, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    publish(site, "main", {"data/train.jsonl": lines("one", "two", "three"), "data/test.jsonl": lines("held out")})
    publish(site, "v2", {"data/train.jsonl": lines("other")})
    asked = [
        {},
        {"split": "train[1:]"},
        {"split": "test"},
        {"revision": "v2"},
        {"data_files": "data/test.jsonl"},
        {"data_dir": "data"},
        {"streaming": True},
        {"streaming": True, "split": "train[1:]+test"},
        {"streaming": True, "revision": "v2", "split": "train[-1:]"},
        {"split": "nothing"},
        {"path": "some/missing"},
        {"path": "some/missing", "streaming": True},
    ]
    environment = {**clean_environment, "HF_ENDPOINT": site.address, "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(asked)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked), done.stderr
    texts = [[row["text"] for row in answer[0]] for answer in answers[:9]]
    three = ["one", "two", "three"]
    streamed = [three, ["two", "three", "held out"], ["other"]]
    assert texts == [three, ["two", "three"], ["held out"], ["other"], ["held out"], three, *streamed]
    assert all(set(row) == {"text"} for answer in answers[:9] for row in answer[0]), (
        "a None that Arrow keeps is no value"
    )
    assert answers[7][1] == "some/data train row 1"
    assert [answers[index][2] for index in (6, 8)] == [f"commit:{COMMITS[name]}" for name in ("main", "v2")]
    assert answers[1][1] == "some/data train[1:] row 0"
    assert len({answers[index][2] for index in (0, 2, 3)}) == 3, "the fingerprint follows the rows"
    assert answers[2][2] == answers[4][2], "and nothing else"
    assert "split 'nothing': cannot be loaded" in answers[9]
    assert "data set 'some/missing'" in answers[10]
    assert "data set 'some/missing'" in answers[11]
