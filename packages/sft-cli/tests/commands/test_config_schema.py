from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sft_cli.main import main
from sft_schema.jsonschema import shipped_schema


def test_standard_output_is_the_shipped_schema_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config-schema"]) == 0
    shown = capsys.readouterr()
    assert shown.out == shipped_schema()
    assert shown.err == ""
    assert json.loads(shown.out)["properties"]["learning_rate"]["description"] == "Peak learning rate."


def test_no_model_data_or_terminal_library_is_imported() -> None:
    code = "import sys; from sft_cli.main import main; main(['config-schema'])\nprint('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "pydantic" in loaded
    assert not loaded & {"torch", "transformers", "datasets", "pyarrow", "numpy", "rich", "jinja2", "sft_data"}
