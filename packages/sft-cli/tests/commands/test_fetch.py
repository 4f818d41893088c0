"""`sft fetch examples`: what comes with the package can be used where it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sft_cli.main import main
from sft_schema.load import load_config


def test_the_quickstart_finds_its_files_where_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, folder in (([], "examples"), (["--out", "my tries"], "my tries")):
        assert main(["fetch", "examples", *arguments]) == 0
        assert "sft train" in capsys.readouterr().out
        cfg = load_config(f"{folder}/quickstart.yaml")
        assert cfg.base_model == f"{folder}/quickstart/base"
        for path in (cfg.base_model, cfg.datasets[0].path, cfg.test_datasets[0].path):
            assert Path(path).exists()
        assert "yaml-language-server" not in Path(f"{folder}/quickstart.yaml").read_text()


def test_a_file_of_the_user_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["fetch", "--out", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"{out}/quickstart.yaml" in found["configs"]
    assert {"quickstart.yaml", "quickstart/base/model.safetensors"} <= {*found["files"]}
    assert main(["fetch", "--out", out]) == 0, "the same again"
    changed = Path(out) / "quickstart.yaml"
    changed.write_text("mine")
    (Path(out) / "quickstart" / "train.jsonl").unlink()
    assert main(["fetch", "--out", out]) == 2
    assert "quickstart.yaml" in capsys.readouterr().err
    assert changed.read_text() == "mine"
    assert not (Path(out) / "quickstart" / "train.jsonl").exists()
