"""Every conversation of the real material goes through, each row kept or dropped with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sft_data import prepare
from sft_data.command import main
from sft_schema import parse_config

ROOT = Path(__file__).resolve().parents[1]
MATERIAL = ROOT.parent / "shared" / "material"
FILES = sorted((MATERIAL / "data").glob("*.jsonl"))
TOKENIZER = MATERIAL / "tokenizers" / "qwen3"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (FILES and TOKENIZER.is_dir()), reason=f"there is no material in {MATERIAL}"),
]


def settings(folder: Path) -> str:
    return json.dumps(
        {
            "base_model": str(TOKENIZER),
            "datasets": [{"path": str(file)} for file in FILES],
            "dataset_prepared_path": str(folder / "prepared"),
            "learning_rate": 1e-4,
            "sequence_len": 8192,
            "excess_length_strategy": "drop",
        }
    )


def test_every_row_of_every_file_is_kept_or_has_its_line_in_quarantine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(settings(tmp_path), encoding="utf-8")
    assert main(["prepare", str(tmp_path / "run.yaml")]) == 0
    account = json.loads(capsys.readouterr().out)
    train, lines = (
        account["splits"]["train"],
        (Path(account["folder"]) / "quarantine.jsonl").read_text(encoding="utf-8"),
    )
    rows = {str(file): len(file.read_text(encoding="utf-8").strip().split("\n")) for file in FILES}
    assert {name: counts["rows_in"] for name, counts in train["datasets"].items()} == rows
    for counts in (train, *train["datasets"].values()):
        assert counts["rows_in"] == counts["rows_out"] + sum(counts["dropped"].values())
        assert counts["tokens_in"] == counts["tokens"] + sum(counts["dropped_tokens"].values())
        assert counts["rows_out"] > 0.5 * counts["rows_in"], counts["dropped"]
    assert len(lines.splitlines()) == sum(train["dropped"].values())
    again = prepare(parse_config(settings(tmp_path)))
    assert len(again.train) == train["rows_out"]
    assert again.train.lengths.sum() == train["tokens"]
