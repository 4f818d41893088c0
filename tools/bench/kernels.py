"""Times the ops of sft-kernels on a GPU, against what the GPU can do and against other implementations.

uv run python tools/bench/kernels.py                 a table
uv run python tools/bench/kernels.py --json          the same for a program
uv run --with liger-kernel python tools/bench/kernels.py --ops rms_norm rope
uv run python tools/bench/kernels.py --self-test     tiny shapes, each once: that the bench runs, on any machine;
                                                     without a GPU the kernels run in triton's interpreter

First the ceilings of this GPU are measured: copying memory, and a large matrix product in bfloat16. Then each op, on
bfloat16 inputs, forward (with what the backward pass needs saved) and forward with backward: the median over runs
with a cold L2 cache, the bytes or operations that the op has to do at least over that time, and their share of the
ceiling. Contenders: sft_kernels, PyTorch op by op and compiled, and Liger-Kernel, flash-attn and torch's varlen
attention where they are installed. What cannot run is listed with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

CPU = not torch.cuda.is_available()
if CPU and __name__ == "__main__":  # before triton is imported
    os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import kernel_cases as cases  # noqa: E402
import kernel_inputs as values  # noqa: E402

import sft_kernels  # noqa: E402
from sft_kernels.testing.interpreter import correct_interpreter  # noqa: E402

COPY_BYTES, PRODUCT = 2**31, 8192
RUN_MS, WARM_UP_MS = 200, 50


class SkippedError(Exception):
    """A contender cannot run here; the message says why."""


def milliseconds(function: Callable[[], Any], once: bool) -> float:
    """The median time of a call, with a cold L2 cache; with `once`, on any device, that of a single call."""
    if once:
        began = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - began)
    testing = importlib.import_module("triton.testing")
    return float(testing.do_bench(function, warmup=WARM_UP_MS, rep=RUN_MS, return_mode="median"))


def ceilings(device: str, once: bool) -> dict[str, float]:
    """TB/s of a copy (read and written), and TFLOP/s of a bfloat16 matrix product."""
    size, side = (2**20, 128) if once else (COPY_BYTES, PRODUCT)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    return {
        "TB/s": 2 * size / milliseconds(lambda: target.copy_(source), once) / 1e9,
        "TFLOP/s": 2 * side**3 / milliseconds(lambda: a @ b, once) / 1e9,
    }


def contenders(case: cases.Case, on_gpu: bool) -> dict[str, Callable[..., Any]]:
    """By name; each raises SkippedError, MissingError or ImportError where it cannot run."""

    def ours(*inputs: Any) -> Any:
        with nullcontext() if on_gpu else sft_kernels.use_backend("triton"):
            return cases.ours_of(case)(*inputs)

    def unless_on_the_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            if not on_gpu:
                raise SkippedError("needs a GPU")
            return function(*inputs)

        return call

    others = {name: unless_on_the_cpu(function) for name, function in case.others.items()}
    compiled = torch.compile(case.plain, dynamic=False)
    return {"sft_kernels": ours, "PyTorch": case.plain, "compiled": unless_on_the_cpu(compiled), **others}


def timed(function: Callable[..., Any], inputs: list[Any], once: bool) -> dict[str, float]:
    """Milliseconds of the forward pass, and of both where something is differentiable."""
    wanted = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    found = {"forward": milliseconds(lambda: function(*inputs), once)}
    if not wanted:
        return found
    directions = [torch.ones_like(out) for out in values.outputs_of(function(*inputs))]

    def both() -> None:
        torch.autograd.grad(values.outputs_of(function(*inputs)), wanted, directions)

    return found | {"both": milliseconds(both, once)}


def measured(case: cases.Case, shape: tuple[int, ...], device: str, once: bool) -> dict[str, Any]:
    """One row: an op on one shape, all contenders."""
    inputs = case.make(shape, values.Random(torch.bfloat16, device))
    row: dict[str, Any] = {"op": case.name, "shape": list(shape), "unit": case.unit, "ms": {}, "not_run": {}}
    for name, function in contenders(case, device == "cuda").items():
        try:
            row["ms"][name] = timed(function, inputs, once)
        except (SkippedError, cases.MissingError) as reason:
            row["not_run"][name] = str(reason)
        except ImportError as reason:
            row["not_run"][name] = f"not installed: {reason}"
        except torch.cuda.OutOfMemoryError:
            row["not_run"][name] = "out of memory"
        torch.compiler.reset()
        if device == "cuda":
            torch.cuda.empty_cache()
    return row


def with_rates(row: dict[str, Any], work: tuple[float, float], ceiling: dict[str, float]) -> dict[str, Any]:
    """Adds rates of each contender, in the row's unit, and their share of the ceiling."""
    amounts = dict(zip(("forward", "both"), work, strict=True))
    rates = {
        name: {part: amounts[part] / time_ms / 1e9 for part, time_ms in times.items()}
        for name, times in row["ms"].items()
    }
    of = ceiling[row["unit"]]
    shares = {name: {part: rate / of for part, rate in parts.items()} for name, parts in rates.items()}
    return row | {"rate": rates, "share_of_ceiling": shares}


def show(found: dict[str, Any]) -> None:
    ceiling = found["ceilings"]
    print(f"{found['device']}, {found['kernels']}, torch {found['torch']}")
    print(f"copy {ceiling['TB/s']:.2f} TB/s, matrix product {ceiling['TFLOP/s']:.0f} TFLOP/s\n")
    print("| op | shape | contender | forward ms | rate | of ceiling | both ms | rate | of ceiling | both, to ours |")
    print("|---|---|---|" + "---:|" * 7)
    for row in found["rows"]:
        shape = "x".join(str(size) for size in row["shape"][:6]) + ("..." if len(row["shape"]) > 6 else "")
        for name in row["ms"]:
            print(f"| {row['op']} | {shape} | {name} | {' | '.join(cells_of(row, name))} |")
        for name, why in row["not_run"].items():
            print(f"| {row['op']} | {shape} | {name} | {why} |" + " |" * 6)


def cells_of(row: dict[str, Any], name: str) -> list[str]:
    """Times, rates and shares of a contender, and its time over ours."""
    times, ours = row["ms"][name], row["ms"].get("sft_kernels", {})
    cells: list[str] = []
    for part in ("forward", "both"):
        if part not in times:
            cells += ["", "", ""]
            continue
        rate, share = row["rate"][name][part], row["share_of_ceiling"][name][part]
        cells += [f"{times[part]:.3f}", f"{rate:.3g} {row['unit']}", f"{100 * share:.0f}%"]
    last = "both" if "both" in times else "forward"
    return [*cells, f"{times[last] / ours[last]:.2f}" if last in ours else ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", nargs="+", choices=[case.name for case in cases.CASES], help="default all")
    parser.add_argument("--self-test", action="store_true", help="tiny shapes, once each; times mean nothing")
    parser.add_argument("--json", action="store_true", help="print JSON to standard output, and nothing else there")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        print("no GPU was found" + (": tiny shapes, on the CPU" if given.self_test else ""), file=sys.stderr)
        if not given.self_test:
            print("there is nothing to time; --self-test runs the bench itself", file=sys.stderr)
            return 2
        correct_interpreter()
    ceiling = ceilings(device, given.self_test)
    rows = []
    for case in cases.CASES:
        if given.ops and case.name not in given.ops:
            continue
        for shape in (case.tiny,) if given.self_test else case.full:
            rows.append(with_rates(measured(case, shape, device, given.self_test), case.work(shape), ceiling))
            print(f"{case.name} {shape[:4]} done", file=sys.stderr)
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    found = {
        "device": name,
        "kernels": "triton" if device == "cuda" else "triton's interpreter",
        "torch": torch.__version__,
        "self_test": given.self_test,
    }
    found |= {"ceilings": ceiling, "rows": rows}
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
