"""Data in S3, in GCS and behind HTTP servers, read from real servers on this machine."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_data import prepare
from sft_data.optional import open_filesystem
from sft_data.row import BadRow, Row
from sft_data.source import fingerprint_source, read_rows
from sft_schema import DataError
from sft_schema.config import DatasetConfig
from sft_schema.testing import check_source

WANTED = [f"row {number}" for number in range(8)]


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": WANTED}), sink, row_group_size=3)
    return sink.getvalue()


def texts(path: str, **settings: Any) -> list[str]:
    return [row.values["text"] for row in read_rows(DatasetConfig(path=path, **settings)) if isinstance(row, Row)]


def put(address: str, content: bytes) -> str:
    filesystem, path = open_filesystem(address)
    with filesystem.open(path, "wb") as handle:
        handle.write(content)
    return address


@pytest.mark.parametrize("store", ["s3", "gcs"])
def test_a_store_gives_files_folders_globs_and_packed_files(
    store: str, request: pytest.FixtureRequest, lines: bytes
) -> None:
    bucket = request.getfixturevalue(store)
    half = lines.index(b'{"text": "row 4"}')
    assert texts(put(f"{bucket}/one/a.jsonl", lines)) == WANTED
    assert texts(put(f"{bucket}/two/a.jsonl.gz", gzip.compress(lines))) == WANTED
    assert texts(put(f"{bucket}/three/a.parquet", parquet())) == WANTED
    put(f"{bucket}/four/a.jsonl", lines[:half])
    put(f"{bucket}/four/b/c.jsonl", lines[half:])
    assert texts(f"{bucket}/four") == texts(f"{bucket}/four/") == WANTED
    assert texts(f"{bucket}/four/*.jsonl") == WANTED[:4]
    assert texts(f"{bucket}/four", data_files="b/*.jsonl", split="train[1:]") == WANTED[5:]
    row = next(read_rows(DatasetConfig(path=f"{bucket}/four/b/c.jsonl")))
    assert row.origin.place == f"{bucket}/four/b/c.jsonl:1"
    present, gone = (DatasetConfig(path=f"{bucket}/{name}/a.jsonl") for name in ("one", "gone"))
    assert check_source(read_rows, present, missing=gone) == 8


@pytest.mark.parametrize("store", ["s3", "gcs"])
def test_a_stores_own_sum_tells_when_the_content_changed(
    store: str, request: pytest.FixtureRequest, lines: bytes
) -> None:
    cfg = DatasetConfig(path=put(f"{request.getfixturevalue(store)}/sum/a.jsonl", lines))
    before = fingerprint_source(cfg)
    assert fingerprint_source(cfg) == before
    put(cfg.path, lines.replace(b"7", b"8"))
    assert fingerprint_source(cfg) != before


@pytest.mark.parametrize("store", ["s3", "gcs"])
def test_a_folder_of_save_to_disk_is_read_from_a_store(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket = request.getfixturevalue(store)
    datasets.Dataset.from_dict({"text": WANTED}).save_to_disk(tmp_path / "saved")
    for file in (tmp_path / "saved").iterdir():
        put(f"{bucket}/saved/{file.name}", file.read_bytes())
    assert texts(f"{bucket}/saved", split="train[6:]") == WANTED[6:]


def test_a_bucket_that_is_not_there_is_named(s3: str) -> None:
    with pytest.raises(DataError, match="s3://nowhere/a"):
        texts("s3://nowhere/a.jsonl")


@pytest.mark.parametrize("etags", [True, False])
def test_files_behind_a_plain_http_server_are_read_as_a_stream(site: Any, lines: bytes, etags: bool) -> None:
    site.etags = etags
    site.files = {"/a.jsonl": lines, "/b.json.gz": gzip.compress(json.dumps([{"text": "one"}]).encode())}
    site.files["/c.parquet"] = parquet()
    assert texts(f"{site.address}/a.jsonl") == WANTED
    assert texts(f"{site.address}/a.jsonl?download=true") == WANTED
    assert texts(f"{site.address}/b.json.gz") == ["one"]
    assert texts(f"{site.address}/c.parquet", split="train[:25%]") == WANTED[:2]
    before = fingerprint_source(DatasetConfig(path=f"{site.address}/a.jsonl"))
    assert before == fingerprint_source(DatasetConfig(path=f"{site.address}/a.jsonl"))
    site.files["/a.jsonl"] = lines.replace(b"7", b"8")
    assert before != fingerprint_source(DatasetConfig(path=f"{site.address}/a.jsonl"))


def test_a_missing_address_and_a_connection_that_breaks_are_named(site: Any, lines: bytes) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        texts(f"{site.address}/gone.jsonl")
    many = lines * 20_000
    site.files, site.cut = {"/a.jsonl": many}, len(many) // 2
    *rows, last = read_rows(DatasetConfig(path=f"{site.address}/a.jsonl"))
    assert isinstance(last, BadRow)
    assert last.reason == "damaged_file"
    assert 1000 < len(rows) < 80_001
    assert last.origin.place == f"{site.address}/a.jsonl:{len(rows) + 1}"


@pytest.mark.parametrize(
    ("address", "extra"), [("s3://bucket/a.jsonl", "sft-data[s3]"), ("gs://bucket/a.jsonl", "sft-data[gcs]")]
)
def test_a_store_whose_library_is_missing_names_the_extra(
    address: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError) as caught:
        texts(address)
    assert extra in str(caught.value)


def test_a_zstd_file_without_zstandard_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(DataError, match=r"sft-data\[zstd\]"):
        texts(str(tmp_path / "a.jsonl.zst"))


def test_fsspec_is_there_with_http() -> None:
    """Everything remote goes through it."""
    assert fsspec.filesystem("http").protocol == ("http", "https")


@pytest.mark.parametrize("store", ["s3", "gcs"])
def test_what_one_machine_prepared_another_takes_from_the_store(
    store: str, request: pytest.FixtureRequest, workspace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{request.getfixturevalue(store)}/prepared"
    data = workspace.chats("a.jsonl", [("user", "first question"), ("assistant", "first answer")])
    cfg = workspace.config(data, dataset_prepared_path=address)
    machines = [tmp_path / "one", tmp_path / "two"]
    for machine in machines:
        machine.mkdir()
    monkeypatch.chdir(machines[0])
    first = prepare(cfg)
    filesystem, path = open_filesystem(address)
    names = {Path(str(each)).name for each in filesystem.ls(f"{path}/{first.folder.name}", detail=False)}
    assert names == {"shard-00000.arrow", "train.arrow", "quarantine.jsonl", "manifest.json"}

    monkeypatch.chdir(machines[1])
    monkeypatch.setattr(sys.modules["sft_data.prepare"], "_build", None)  # nothing is prepared a second time
    second = prepare(cfg)
    assert second.folder.resolve().is_relative_to(machines[1])
    assert second.manifest == first.manifest
    assert second.train[0].input_ids.tolist() == first.train[0].input_ids.tolist()


def test_a_store_that_cannot_be_written_is_named(
    s3: str, workspace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = workspace.chats("a.jsonl", [("user", "first question"), ("assistant", "first answer")])
    with pytest.raises(DataError, match="prepared data cannot be written") as caught:
        prepare(workspace.config(data, dataset_prepared_path="s3://nobodys-bucket/prepared"))
    assert "s3://nobodys-bucket/prepared" in str(caught.value)
