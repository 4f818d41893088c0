"""What a fresh interpreter loads: the data path and the command line start without torch."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "accelerate")
LOADED = f"""
import sys
print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
"""
COMMAND = """
import contextlib, sys
sys.argv = ["sft", *{arguments!r}]
from sft_cli.main import main
with contextlib.suppress(SystemExit):
    main()
"""


def run(code: str) -> str:
    """What the code prints, run in an interpreter of its own."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def loaded_after(code: str) -> list[str]:
    return run(code + LOADED).splitlines()[-1].removeprefix("loaded:").split()


def test_the_probe_sees_torch():
    assert "torch" in loaded_after("import torch")


@pytest.mark.parametrize("module", ["sft_schema", "sft_data", "sft_cli"])
def test_importing_loads_no_training_library(module):
    assert loaded_after(f"import {module}") == []


def test_kernels_load_torch_and_no_model_library():
    assert loaded_after("import sft_kernels") == ["torch"]


def test_help_loads_no_training_library():
    code = COMMAND.format(arguments=["--help"])
    assert "Usage" in run(code)
    assert loaded_after(code) == []
