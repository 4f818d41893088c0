"""Files of every kind, packed and not, damaged and whole: the same rows, each with its place."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_data.row import BadRow
from sft_data.source import fingerprint_source, lines, read_rows
from sft_schema import DataError
from sft_schema.config import DatasetConfig
from sft_schema.testing import check_source

ROWS = [{"text": f"row {number}"} for number in range(8)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def texts(path: Path | str, **settings: Any) -> list[str]:
    return [found(row) for row in read_rows(DatasetConfig(path=str(path), **settings))]


def found(row: Any) -> str:
    return row.reason if isinstance(row, BadRow) else row.values["text"]


def as_csv(file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, delimiter="\t" if file.suffix == ".tsv" else ",")
        writer.writerows([["text"], *([row["text"]] for row in ROWS)])


def as_arrow(file: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    options = {".feather": pa.ipc.new_file, ".arrow": pa.ipc.new_stream}
    with options[file.suffix](file, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def as_zst(file: Path) -> None:
    file.write_bytes(pytest.importorskip("zstandard").compress(LINES))


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda file: file.write_bytes(LINES),
    "a.ndjson": lambda file: file.write_bytes(LINES),
    "a.json": lambda file: file.write_text(json.dumps(ROWS), encoding="utf-8"),
    "lines.json": lambda file: file.write_bytes(LINES),
    "a.csv": as_csv,
    "a.tsv": as_csv,
    "a.txt": lambda file: file.write_text("\n".join(row["text"] for row in ROWS), encoding="utf-8"),
    "a.parquet": lambda file: pq.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=3),
    "a.arrow": as_arrow,
    "a.feather": as_arrow,
    "a.jsonl.gz": lambda file: file.write_bytes(gzip.compress(LINES)),
    "a.jsonl.bz2": lambda file: file.write_bytes(bz2.compress(LINES)),
    "a.jsonl.xz": lambda file: file.write_bytes(lzma.compress(LINES)),
    "a.jsonl.zst": as_zst,
    "a.json.gz": lambda file: file.write_bytes(gzip.compress(json.dumps(ROWS, indent=2).encode())),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_rows_in_order(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert texts(tmp_path / name) == [row["text"] for row in ROWS]
    missing = DatasetConfig(path=str(tmp_path / f"gone-{name}"))
    assert check_source(read_rows, DatasetConfig(path=str(tmp_path / name)), missing=missing) == 8


@pytest.mark.parametrize("name", WRITERS)
def test_ds_type_says_it_when_the_ending_does_not(tmp_path: Path, name: str) -> None:
    if name in ("a.tsv", "a.jsonl.gz", "a.jsonl.bz2", "a.jsonl.xz", "a.jsonl.zst", "a.json.gz"):
        return  # the ending says the separator or the packing
    WRITERS[name](tmp_path / name)
    (tmp_path / name).rename(tmp_path / "data")
    kinds = {"ndjson": "jsonl", "txt": "text", "feather": "arrow"}
    ending = name.rpartition(".")[2]
    assert texts(tmp_path / "data", ds_type=kinds.get(ending, ending)) == [row["text"] for row in ROWS]
    with pytest.raises(DataError, match="does not say what it holds"):
        texts(tmp_path / "data")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.bz2", "a.jsonl.xz"])
def test_a_packed_file_that_is_cut_off_keeps_its_first_rows_and_names_the_line(tmp_path: Path, name: str) -> None:
    many = b"".join(json.dumps({"text": f"{number} {hash(str(number))}"}).encode() + b"\n" for number in range(60_000))
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[Path(name).suffix]
    packed = pack(many)
    (tmp_path / name).write_bytes(packed[: len(packed) // 2])
    *rows, last = read_rows(DatasetConfig(path=str(tmp_path / name)))
    assert 100 < len(rows) < 60_000
    assert isinstance(last, BadRow)
    assert last.reason == "damaged_file"
    assert last.origin.place.endswith(f"{name}:{len(rows) + 1}")


def test_an_array_that_is_cut_off_keeps_the_items_before_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(ROWS)[:-30], encoding="utf-8")
    assert texts(file) == ["row 0", "row 1", "row 2", "row 3", "row 4", "row 5", "damaged_file"]
    (*_, last) = read_rows(DatasetConfig(path=str(file)))
    assert last.origin.place.endswith("a.json item 6")


def test_parquet_with_a_broken_page_names_the_row(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": [f"{number:08}" * 20 for number in range(40_000)]}),
        file,
        row_group_size=4_000,
        compression="gzip",
        use_dictionary=False,
    )
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4_000] = b"\xff" * 4_000
    file.write_bytes(data)
    *rows, last = read_rows(DatasetConfig(path=str(file)))
    assert isinstance(last, BadRow)
    assert 1_000 < len(rows) < 30_000
    assert last.origin.place == f"{file} row {len(rows)}"


def test_a_line_beyond_the_limit_is_a_bad_row_and_the_next_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    file = tmp_path / "a.jsonl"
    file.write_bytes(LINES + b'{"text": "' + b"x" * 5000 + b'"}\n' + LINES)
    found = texts(file)
    assert found[8] == "line_too_long"
    assert found[:8] == found[9:] == [row["text"] for row in ROWS]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_reading_keeps_a_small_part_of_the_file_in_memory(tmp_path: Path, name: str) -> None:
    rows = [{"text": f"{number} " * 200} for number in range(40_000)]
    file = tmp_path / name
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if name == "a.json":
        file.write_text(json.dumps(rows), encoding="utf-8")
    elif name == "a.csv":
        file.write_text("text\n" + "\n".join(row["text"] for row in rows), encoding="utf-8")
    elif name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=2_000)
    else:
        file.write_bytes(gzip.compress(text, 1) if name.endswith("gz") else text)
    del rows
    tracemalloc.start()
    assert sum(1 for _ in read_rows(DatasetConfig(path=str(file)))) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(text) / 4


def test_the_fingerprint_is_that_of_the_content_and_the_kind(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    seen = set()
    for content in (LINES, LINES[:-20] + LINES[-20:].replace(b"7", b"8")):
        file.write_bytes(content)
        seen.add(fingerprint_source(DatasetConfig(path=str(file))))
    (tmp_path / "a.txt").write_bytes(content)
    seen.add(fingerprint_source(DatasetConfig(path=str(tmp_path / "a.txt"))))
    assert len(seen) == 3


def test_a_record_of_csv_may_hold_line_breaks_and_its_place_is_its_first_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('text,more\r\n"two\nlines",1\r\n\r\nragged\r\nlast,"2"\r\n', encoding="utf-8-sig", newline="")
    rows = list(read_rows(DatasetConfig(path=str(file))))
    assert [row.origin.place.rpartition(":")[2] for row in rows] == ["2", "5", "6"]
    assert [row.reason if isinstance(row, BadRow) else row.values for row in rows] == [
        {"text": "two\nlines", "more": "1"},
        "ragged_row",
        {"text": "last", "more": "2"},
    ]
