"""What a Chrome trace of the profiler says, as numbers.

The trace has an event for each operator on each thread of the host (`cpu_op`), inside of one another, and on a GPU one
for each kernel and copy.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

_HOST, _DEVICE = ("cpu_op", "user_annotation"), ("kernel", "gpu_memcpy", "gpu_memset")
_STEP = "Optimizer.step#"
_SHOWN = 20


class Cost(BaseModel):
    """What one operator or kernel cost.

    Attributes:
        name: of it.
        calls: how often it ran.
        milliseconds: in all, without what ran inside of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    calls: int
    milliseconds: float


class Profile(BaseModel):
    """Where the time of some steps went.

    Attributes:
        steps: optimizer steps in the trace.
        milliseconds: from the first event to the last.
        operators: of the host, the most expensive first.
        kernels: of the GPU, with copies; empty on a CPU.
        device_busy: part of the time in which the GPU did something; None on a CPU.
        peak_bytes: the most memory that tensors took, by kind of device, such as `cpu` or `cuda:0`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    milliseconds: float
    operators: tuple[Cost, ...]
    kernels: tuple[Cost, ...]
    device_busy: float | None
    peak_bytes: dict[str, int]


def read_profile(trace: Path) -> Profile:
    """The account of a profiler_trace.json.

    Raises:
        ValueError: it is no Chrome trace.
    """
    content = json.loads(trace.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "traceEvents" not in content:
        raise ValueError(f"{trace} is no Chrome trace: it has no traceEvents")
    events: list[dict[str, Any]] = content["traceEvents"]
    timed = [each for each in events if each.get("ph") == "X" and each.get("cat") in (*_HOST, *_DEVICE)]
    ends = [each["ts"] + each["dur"] for each in timed]
    span = (max(ends) - min(each["ts"] for each in timed)) if timed else 0.0
    device = [each for each in timed if each["cat"] in _DEVICE]
    return Profile(
        steps=sum(each["name"].startswith(_STEP) for each in timed if each["cat"] in _HOST),
        milliseconds=round(span / 1000, 3),
        operators=_dearest(_own_times(each for each in timed if each["cat"] in _HOST)),
        kernels=_dearest((each["name"], each["dur"]) for each in device),
        device_busy=round(_covered(device) / span, 4) if device else None,
        peak_bytes=_peaks(events),
    )


def _own_times(events: Iterable[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Name and own time of each event: its duration without that of the events inside of it on its thread."""
    threads: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for each in events:
        threads[each["pid"], each["tid"]].append(each)
    for found in threads.values():
        found.sort(key=lambda each: (each["ts"], -each["dur"]))
        open_: list[list[Any]] = []  # name, end, own time
        for each in found:
            while open_ and open_[-1][1] <= each["ts"]:
                name, _, own = open_.pop()
                yield name, own
            if open_:
                open_[-1][2] -= each["dur"]
            open_.append([each["name"], each["ts"] + each["dur"], each["dur"]])
        yield from ((name, own) for name, _, own in open_)


def _dearest(costs: Iterable[tuple[str, float]]) -> tuple[Cost, ...]:
    times: dict[str, list[float]] = defaultdict(list)
    for name, microseconds in costs:
        times[name].append(max(microseconds, 0.0))
    found = (Cost(name=name, calls=len(each), milliseconds=round(sum(each) / 1000, 3)) for name, each in times.items())
    return tuple(sorted(found, key=lambda each: (-each.milliseconds, each.name))[:_SHOWN])


def _covered(events: Iterable[dict[str, Any]]) -> float:
    """Microseconds in which at least one event runs."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted((each["ts"], each["ts"] + each["dur"]) for each in events):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _peaks(events: Iterable[dict[str, Any]]) -> dict[str, int]:
    peaks: dict[str, int] = {}
    for each in events:
        if each.get("name") == "[memory]":
            args = each["args"]
            kind = "cpu" if args["Device Type"] == 0 else f"cuda:{args['Device Id']}"
            peaks[kind] = max(peaks.get(kind, 0), int(args["Total Allocated"]))
    return peaks
