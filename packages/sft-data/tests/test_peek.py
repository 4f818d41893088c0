"""The first look at a data set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_data import peek
from sft_schema import DataError
from sft_schema.config import SourceConfig

ROW = {"messages": [{"role": "user", "content": "Hi"}]}


def test_rows_format_and_number_of_a_small_file_are_exact(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f"{json.dumps(ROW)}\nnot json\n{json.dumps(ROW)}\n")
    seen = peek(SourceConfig(path=str(file)))
    assert (len(seen.rows), seen.bad, seen.count, seen.formats) == (2, 1, 2, ("chat_template",))
    assert seen.why == "a list of messages in 'messages'"


def test_the_number_of_rows_of_a_large_file_is_told_by_its_size(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text((json.dumps(ROW) + "\n") * 5000)
    count = peek(SourceConfig(path=str(file))).count
    assert count is not None
    assert 4900 < count < 5100


def test_kinds_that_need_a_library_are_read_with_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "a.parquet")
    seen = peek(SourceConfig(path=str(tmp_path / "a.parquet")))
    assert (seen.formats, seen.count, len(seen.rows)) == (("completion",), None, 2)


@pytest.mark.parametrize("text", ["", "not json\n", "[1, 2]"])
def test_a_file_without_a_readable_row_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"no row can be read|there are no rows"):
        peek(SourceConfig(path=str(tmp_path / "a.jsonl")))


def test_text_kinds_are_read_without_pyarrow_and_numpy(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nhello\n")
    code = (
        "import sys; from sft_data import peek; from sft_schema.config import SourceConfig\n"
        "print(peek(SourceConfig(path=sys.argv[1])).formats, 'pyarrow' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.csv")], capture_output=True, text=True)
    assert done.stdout == "('completion',) False False\n", done.stderr
