"""What every hostile input is put through."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft_data import prepare
from sft_schema import ConfigError, DataError, SftConfig, parse_config
from sft_train.testing import tiny_model

Files = dict[str, bytes]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), weights=False)


def config(folder: Path, tokenizer: Path, settings: dict[str, Any]) -> SftConfig:
    """A config over `data` of the test's folder; keys of a data set may stand beside those of the top level."""
    of_dataset = {"path": "data", "type": "chat_template", **settings.get("dataset", {})}
    path = of_dataset["path"]
    of_dataset["path"] = path if "://" in path or path.startswith("/") else str(folder / path)
    values = {
        "base_model": str(tokenizer),
        "datasets": [of_dataset],
        "learning_rate": 1e-3,
        "sequence_len": 4096,
        "dataset_prepared_path": str(folder / "prepared"),
        **{key: value for key, value in settings.items() if key != "dataset"},
    }
    return parse_config(json.dumps(values))


class Judge:
    """Checks one input against what is expected of it."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        self._folder, self._tokenizer = folder, tokenizer

    def write(self, files: Files) -> None:
        for name, content in files.items():
            file = self._folder / "data" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def prepared(self, **settings: Any) -> Any:
        return prepare(config(self._folder, self._tokenizer, settings))

    def refuses(self, message: str, settings: dict[str, Any]) -> None:
        """The input ends in an error of ours that says where, what and how to mend it."""
        with pytest.raises((DataError, ConfigError)) as caught:
            self.prepared(**settings)
        text = str(caught.value)
        assert re.search(message, text), text
        assert "fix: " in text

    def keeps(self, rows: int, settings: dict[str, Any]) -> None:
        """All rows are kept."""
        counts = self.prepared(**settings).manifest.splits["train"]
        assert (counts.rows_in, counts.rows_out, counts.dropped) == (rows, rows, {})

    def sets_aside(self, reason: str, place: str, settings: dict[str, Any]) -> None:
        """One row is set aside with its place, the others are kept; with `on_bad_row: error` it stops the run."""
        prepared = self.prepared(**settings)
        counts = prepared.manifest.splits["train"]
        assert counts.rows_in == counts.rows_out + sum(counts.dropped.values())
        assert counts.rows_out == len(prepared.train) > 0
        (line,) = (prepared.folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
        row = json.loads(line)
        assert re.fullmatch(reason, row["reason"]), row
        assert re.search(rf"{place}$", row["place"]), row
        assert row["detail"]
        with pytest.raises(DataError, match=re.escape(row["place"])) as caught:
            self.prepared(**settings, on_bad_row="error")
        assert row["reason"] in str(caught.value)


@pytest.fixture
def judge(tmp_path: Path, tokenizer: Path) -> Judge:
    return Judge(tmp_path, tokenizer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


Expectation = Callable[[Judge, dict[str, Any]], None]
