"""Kernels beside other packages' tests: each file of ops/ in a process that asks for triton's interpreter."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

FILES = sorted((Path(__file__).parent / "ops").glob("test_*.py"))

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels run on the GPU, in this process"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="they are interpreted in this process"),
    pytest.mark.skipif(not (find_spec("triton") and find_spec("numpy")), reason="needs triton and numpy"),
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_kernels_pass_in_a_process_of_their_own(file: Path) -> None:
    command = [sys.executable, "-m", "pytest", str(file), "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
