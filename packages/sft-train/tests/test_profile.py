"""The account of a trace adds up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from sft_train.profile import read_profile


def write(folder: Path, events: list[dict[str, Any]]) -> Path:
    file = folder / "trace.json"
    file.write_text(json.dumps({"traceEvents": events}))
    return file


def event(name: str, start: float, length: float, kind: str = "cpu_op", thread: int = 1) -> dict[str, Any]:
    return {"ph": "X", "cat": kind, "name": name, "ts": start, "dur": length, "pid": 1, "tid": thread}


def test_what_runs_inside_counts_for_itself_alone(tmp_path: Path) -> None:
    events = [
        event("outer", 0, 10_000),
        event("inner", 1_000, 2_000),
        event("innermost", 1_500, 500),
        event("inner", 4_000, 1_000),
        event("elsewhere", 500, 3_000, thread=2),
        event("Optimizer.step#AdamW.step", 10_000, 1_000, "user_annotation"),
        event("gemm", 2_000, 4_000, "kernel"),
        event("copy", 5_000, 2_000, "gpu_memcpy"),
        event("gemm", 8_000, 1_000, "kernel"),
        event("not timed", 0, 99_000, "python_function"),
        {"ph": "i", "name": "[memory]", "args": {"Device Type": 1, "Device Id": 0, "Total Allocated": 70}},
        {"ph": "i", "name": "[memory]", "args": {"Device Type": 1, "Device Id": 0, "Total Allocated": 90}},
        {"ph": "i", "name": "[memory]", "args": {"Device Type": 0, "Device Id": -1, "Total Allocated": 50}},
    ]
    found = read_profile(write(tmp_path, events))
    assert (found.steps, found.milliseconds) == (1, 11)
    assert {each.name: (each.calls, each.milliseconds) for each in found.operators} == {
        "outer": (1, 7),
        "inner": (2, 2.5),
        "innermost": (1, 0.5),
        "elsewhere": (1, 3),
        "Optimizer.step#AdamW.step": (1, 1),
    }
    assert [(each.name, each.calls, each.milliseconds) for each in found.kernels] == [("gemm", 2, 5), ("copy", 1, 2)]
    assert found.device_busy == pytest.approx(6 / 11, abs=1e-4)
    assert found.peak_bytes == {"cuda:0": 90, "cpu": 50}


def test_a_trace_of_the_profiler_is_read(tmp_path: Path) -> None:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        torch.zeros(500, 500) @ torch.zeros(500, 500)
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    found = read_profile(tmp_path / "trace.json")
    assert "aten::mm" in [each.name for each in found.operators[:5]]
    assert (found.kernels, found.device_busy) == ((), None)
    assert found.peak_bytes["cpu"] >= 3 * 500 * 500 * 4


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="is no Chrome trace"):
        read_profile(tmp_path / "x.json")
