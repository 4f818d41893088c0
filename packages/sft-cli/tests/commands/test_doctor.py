"""`sft doctor`, on this machine."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import constants

from sft_cli.main import main
from sft_schema.attention import ALL_BACKENDS


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_json_names_every_backend_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["attention"]) == list(ALL_BACKENDS)
    assert found["attention"]["sdpa"] is None
    assert found["attention"]["xformers"]
    assert found["kernels"]["reference"] is None
    assert found["problems"] == []
    assert found["hub"]["reached"] is False
    assert "write a first config" in found["next"][-1]


def test_text_says_versions_devices_reasons_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    titles = [line for line in shown.splitlines() if line and line[0] != " "]
    assert titles[0] == "versions"
    assert titles[-1] == "next"
    for text in ("transformers 5.", "CPU: ", "sdpa               works", "HF_HUB_OFFLINE is set", "GB free"):
        assert text in shown
