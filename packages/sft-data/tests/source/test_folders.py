"""Which files are read: folders, globs, data_files, data_dir, splits, pieces, saved folders."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import datasets
import pytest

from sft_data.row import Row
from sft_data.source import fingerprint_source, read_rows
from sft_schema import DataError
from sft_schema.config import DatasetConfig
from sft_schema.testing.vision import write_png


def write(file: Path, *texts: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return file


def texts(path: Path | str, **settings: Any) -> list[str]:
    rows = list(read_rows(DatasetConfig(path=str(path), **settings)))
    assert [row.origin.row for row in rows] == list(range(len(rows)))
    return [row.values["text"] for row in rows if isinstance(row, Row)]


def test_a_folder_is_read_with_its_subfolders_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "b" / "1.jsonl", "three")
    write(tmp_path / "a.jsonl", "one", "two")
    write(tmp_path / ".hidden" / "x.jsonl", "hidden")
    write(tmp_path / ".x.jsonl", "hidden")
    write(tmp_path / "dataset_info.json", "not a row")
    (tmp_path / "README.txt").write_text("about the data", encoding="utf-8")
    assert texts(tmp_path) == ["one", "two", "three"]


def test_links_to_folders_end_and_links_to_files_are_read(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.jsonl", "one")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "broken.jsonl").symlink_to(tmp_path / "data" / "broken.jsonl")
    (tmp_path / "data" / "a.jsonl").symlink_to(tmp_path / "elsewhere" / "a.jsonl")
    with pytest.raises(DataError, match=r"broken\.jsonl: cannot be read"):
        texts(tmp_path / "data")
    (tmp_path / "data" / "broken.jsonl").unlink()
    assert texts(tmp_path / "data") == ["one"]


def test_a_folder_of_several_kinds_is_refused_until_ds_type_says_which(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "one")
    (tmp_path / "b.json").write_text('[{"text": "two"}]', encoding="utf-8")
    (tmp_path / "c.txt").write_text("three\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"several kinds: jsonl, text[\s\S]*ds_type"):
        texts(tmp_path)
    assert texts(tmp_path, ds_type="text") == ["three"]
    assert texts(tmp_path, ds_type="json") == ["one", "two"]


def test_data_files_and_data_dir_choose_inside_the_folder(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "sub" / f"{name}.jsonl", name)
    write(tmp_path / "d.jsonl", "d")
    assert texts(tmp_path, data_files="sub/b.jsonl") == ["b"]
    assert texts(tmp_path, data_files=("d.jsonl", "sub/[ab].jsonl", "sub/a.jsonl")) == ["d", "a", "b"]
    assert texts(tmp_path, data_dir="sub") == ["a", "b", "c"]
    assert texts(tmp_path, data_dir="sub", data_files="c.jsonl") == ["c"]
    with pytest.raises(DataError, match=r"no file 'x\.jsonl' in it"):
        texts(tmp_path, data_files="x.jsonl")
    with pytest.raises(DataError, match="no folder 'x' in it"):
        texts(tmp_path, data_dir="x")
    with pytest.raises(DataError, match="inside a folder"):
        texts(tmp_path / "d.jsonl", data_dir="x")


@pytest.mark.parametrize("name", ["../secret.jsonl", "/etc/passwd", "sub/../../secret.jsonl", "~/x", "file:///etc"])
def test_data_files_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "secret.jsonl", "secret")
    write(tmp_path / "data" / "a.jsonl", "one")
    for settings in ({"data_files": name}, {"data_dir": name}):
        with pytest.raises(DataError, match="leads out of the folder"):
            texts(tmp_path / "data", **settings)


def test_the_name_of_a_kind_with_data_files_is_the_datasets_librarys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "rows.data", "one")
    monkeypatch.chdir(tmp_path)
    assert texts("json", data_files="rows.data") == ["one"]


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("train", range(10)),
        ("train[:3]", range(3)),
        ("train[7:]", range(7, 10)),
        ("train[2:5]", range(2, 5)),
        ("train[-2:]", range(8, 10)),
        ("train[:-7]", range(3)),
        ("train[:25%]", range(2)),
        ("train[35%:]", range(4, 10)),
        ("train[-10%:]", range(9, 10)),
        ("train[5:500]", range(5, 10)),
        ("train[8:]+train[:1]", [8, 9, 0]),
    ],
)
def test_parts_of_a_split_are_those_of_the_datasets_library(tmp_path: Path, split: str, wanted: Any) -> None:
    file = write(tmp_path / "a.jsonl", *(str(number) for number in range(10)))
    assert texts(file, split=split) == [str(number) for number in wanted]
    theirs = datasets.load_dataset("json", data_files=str(file), split=split, cache_dir=str(tmp_path / "cache"))
    assert texts(file, split=split) == [str(text) for text in theirs["text"]]


def test_a_split_that_a_file_cannot_have_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", "one")
    for split, message in (("test", "have one split, train"), ("train[", "is no split"), ("train[a:]", "is no split")):
        with pytest.raises(DataError, match=message):
            texts(file, split=split)
    with pytest.raises(DataError, match="there are no rows in it"):
        texts(file, split="train[1:]")


def test_names_of_files_say_their_splits(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation", "test"):
        write(tmp_path / "data" / f"{name}.jsonl", name)
    assert texts(tmp_path) == ["train-00000-of-00002", "train-00001-of-00002"]
    assert texts(tmp_path, split="validation") == texts(tmp_path, split="dev") == ["validation"]
    assert texts(tmp_path, split="test[:1]") == ["test"]
    with pytest.raises(DataError, match="splits: test, train, validation"):
        texts(tmp_path, split="more")


def test_pieces_of_shards_are_random_disjoint_and_complete(tmp_path: Path) -> None:
    every = [str(number) for number in range(103)]
    file = write(tmp_path / "a.jsonl", *every)
    pieces = [texts(file, shards=4, shards_idx=index) for index in range(4)]
    assert sorted(text for piece in pieces for text in piece) == sorted(every)
    assert {len(piece) for piece in pieces} == {25, 26}
    gaps = {int(b) - int(a) for a, b in zip(pieces[0], pieces[0][1:], strict=False)}
    assert len(gaps) > 2, "each fourth row would follow the order of the file"


def test_a_folder_of_save_to_disk_is_read_with_its_splits(tmp_path: Path) -> None:
    rows = {"train": ["a", "b", "c"], "test": ["d"]}
    saved = datasets.DatasetDict({name: datasets.Dataset.from_dict({"text": each}) for name, each in rows.items()})
    saved.save_to_disk(tmp_path / "two")
    saved["train"].select([2, 0]).save_to_disk(tmp_path / "one")
    assert texts(tmp_path / "two") == ["a", "b", "c"]
    assert texts(tmp_path / "two", split="train[1:]+test") == ["b", "c", "d"]
    assert texts(tmp_path / "one") == ["c", "a"]
    with pytest.raises(DataError, match="no split 'validation'"):
        texts(tmp_path / "two", split="validation")
    before = fingerprint_source(DatasetConfig(path=str(tmp_path / "two")))
    assert before == fingerprint_source(DatasetConfig(path=str(tmp_path / "two")))
    assert before != fingerprint_source(DatasetConfig(path=str(tmp_path / "one")))
    (arrow,) = (tmp_path / "one").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(DataError, match="saved data set"):
        texts(tmp_path / "one")


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", "one")
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything, as root does")
    with pytest.raises(DataError, match="Permission denied"):
        texts(file)


@pytest.mark.extra("PIL")
def test_pictures_of_a_saved_data_set_are_bytes_of_files(tmp_path: Path) -> None:
    """Also inside lists and messages; nothing is decoded."""
    raw = write_png(tmp_path / "red.png", 8, 8, (250, 0, 0)).read_bytes()
    stored = {"bytes": raw, "path": "red.png"}
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "images": datasets.List(datasets.Image()),
            "messages": datasets.List({"role": datasets.Value("string"), "photo": datasets.Image()}),
        }
    )
    row = {"text": "a", "images": [stored, stored], "messages": [{"role": "user", "photo": stored}]}
    datasets.Dataset.from_dict({key: [value] for key, value in row.items()}, features=features).save_to_disk(
        tmp_path / "saved"
    )
    (found,) = read_rows(DatasetConfig(path=str(tmp_path / "saved")))
    assert isinstance(found, Row)
    assert found.values == row
