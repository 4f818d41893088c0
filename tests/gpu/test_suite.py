"""The suite for GPUs finds nothing amiss; on a machine without one, tests/test_bench.py runs its self-test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SUITE = Path(__file__).resolve().parents[2] / "tools" / "bench" / "gpu.py"


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("part", ["attention", "kernels", "optimizers", "memory"])
def test_everything_is_as_it_must_be(part: str) -> None:
    command = [sys.executable, SUITE, "--json", "--only", part]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.stdout, done.stderr
    rows = json.loads(done.stdout)["parts"][part]
    assert [row for row in rows if row["ok"] is False] == []
    assert any(row["ok"] for row in rows), rows
