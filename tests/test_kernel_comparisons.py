"""The comparison with other kernels, against libraries made up for the test, and an outside project that trains."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sft_kernels import dispatch

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "compat" / "liger.py"
CONSUMER = ROOT / "tests" / "consumers" / "kernels_only"

# A library with Liger's names. Its norm is exact, or off by a tenth.
FUNCTIONAL = """
import torch

def liger_rms_norm(x, weight, eps, offset, casting_mode, in_place):
    wide = x.double()
    return (weight * wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * {factor}
"""

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("triton", "numpy")), reason="needs triton and numpy"
)


def compare(folder: Path, factor: float) -> tuple[int, list[dict]]:
    package = folder / "liger_kernel" / "transformers"
    package.mkdir(parents=True, exist_ok=True)
    (package / "functional.py").write_text(FUNCTIONAL.format(factor=factor))
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, TOOL, "--json", "rms_norm", "add_rms_norm", "varlen_attention"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def test_the_comparison_measures_both_against_float64(tmp_path: Path) -> None:
    code, rows = compare(tmp_path, 1.1)
    assert code == 0
    by_name = {(row["op"], row["dtype"]): row for row in rows}
    norm = by_name["rms_norm", "float32"]
    assert norm["theirs"]["liger"] == pytest.approx(0.1, rel=1e-3)
    assert 0 < norm["ours"] < 1e-6
    assert 1e-4 < by_name["rms_norm", "bfloat16"]["ours"] < 1e-2
    assert by_name["add_rms_norm", "float32"]["theirs"] == {}
    assert "ours" in by_name["varlen_attention", "float32"]
    assert set(by_name["varlen_attention", "bfloat16"]["not_run"]) >= {"flash-attn"}


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("kernel_cases")


def test_being_further_off_than_others_is_a_failure(cases: Any) -> None:
    row = {"last_place": 1e-8, "theirs": {"liger": 1e-6}}
    assert not cases.is_worse(row)
    assert not cases.is_worse(row | {"ours": 1.4e-6})
    assert cases.is_worse(row | {"ours": 1.6e-6})
    assert cases.is_worse(row | {"ours": float("nan")})
    assert not cases.is_worse(row | {"ours": 0.9e-8, "theirs": {"liger": 1e-12}})


def test_every_op_has_a_case_at_the_shapes_whose_floors_are_known(cases: Any) -> None:
    found = {case.name: set(case.full) for case in cases.CASES}
    assert set(dispatch.ops()) <= {*found, "glu", "dequantize"}
    for name in ("rms_norm", "rms_norm_gemma", "add_rms_norm", "layer_norm"):
        assert (16384, 4096) in found[name]
    assert (16384, 14336) in found["swiglu"] & found["geglu"]
    assert {(16384, 32, 8, 128), (32768, 32, 8, 128)} <= found["rope"] & found["rope_cached"]
    for part in ("", "_frozen_head", "_recompute", "_two_fifths"):
        assert (16384, 4096, 128256) in found[f"linear_cross_entropy{part}"]
    lengths = {shape[3:] for shape in found["varlen_attention"] if shape[:3] == (32, 8, 128)}
    alike = {(32768 // number,) * number for number in (1, 8, 32, 64, 256)}
    assert lengths == alike | {(16384, 8192, 4096, 2048, 1024, 512, 256, 128, 128)}
    assert {"lora_linear", "lora_qkv", "lora_mlp", "dequantize_nf4", "dequantize_int8", "unpad"} <= found.keys()
    assert {"grouped_linear", "grouped_linear_adapters", "qk_norm_rope", "cross_entropy"} <= found.keys()


def test_an_outside_project_trains_with_the_kernels_alone() -> None:
    environment = os.environ | {"PYTHONPATH": str(CONSUMER / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "kernels_only"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("loss ")
