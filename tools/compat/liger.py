"""Holds Liger-Kernel's and flash-attn's results against ours: who is further from float64, op by op.

uv run --with liger-kernel python tools/compat/liger.py            a table
uv run --with liger-kernel python tools/compat/liger.py --json     the same for a program

Each op runs on the same inputs in float32 and bfloat16. A difference is the largest of an output, or of a gradient,
over the largest magnitude in it; the largest over all outputs and gradients is printed, for theirs, for ours and for
plain PyTorch. On the CPU both run in triton's interpreter, with the corrections of `sft_kernels.testing`, on tiny
shapes (flash-attn and torch's varlen attention need a GPU). Exit code 1: ours is further off than 1.5 times theirs,
and than a last place of the largest value. What is not installed, or not in sft_kernels, is listed as missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

CPU = not torch.cuda.is_available()
if CPU:  # before triton is imported
    os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import kernel_cases as cases  # noqa: E402
import kernel_inputs as values  # noqa: E402

import sft_kernels  # noqa: E402
from sft_kernels.testing.interpreter import correct_interpreter  # noqa: E402

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def difference(function: Callable[..., Any], exact: list[torch.Tensor], inputs: list[Any]) -> float:
    """The largest relative difference from `exact`, over outputs and gradients."""
    largest = 0.0
    for actual, right in zip(results(function, inputs), exact, strict=True):
        off = (actual.detach().double() - right.detach()).abs().max()
        largest = max(largest, float(off / right.detach().abs().max().clamp(min=1e-30)))
    return largest


def results(function: Callable[..., Any], inputs: list[Any]) -> list[torch.Tensor]:
    """Outputs, then gradients of the inputs that require them; on copies, since some write to their inputs."""
    copies = [x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x for x in inputs]
    outputs = values.outputs_of(function(*copies))
    wanted = [x for x in copies if isinstance(x, torch.Tensor) and x.requires_grad]
    if not wanted:
        return [out.detach() for out in outputs]
    generator = torch.Generator().manual_seed(1)
    directions = [(torch.randint(-64, 65, out.shape, generator=generator) / 32).to(out) for out in outputs]
    kept = [out.detach().clone() for out in outputs]
    return kept + list(torch.autograd.grad(outputs, wanted, directions))


def in_float64(inputs: list[Any]) -> list[Any]:
    return [
        x.detach().double().requires_grad_(x.requires_grad)
        if isinstance(x, torch.Tensor) and x.is_floating_point()
        else x
        for x in inputs
    ]


def compared(case: cases.Case, dtype: str) -> dict[str, Any]:
    """The differences of one op, or why there is none."""
    inputs = case.make(case.tiny, values.Random(DTYPES[dtype], "cpu" if CPU else "cuda"))
    exact = results(case.plain, in_float64(inputs))
    row: dict[str, Any] = {"op": case.name, "dtype": dtype, "last_place": torch.finfo(DTYPES[dtype]).eps}
    row["plain"] = difference(case.plain, exact, inputs)
    try:
        with ours_by_kernel():
            row["ours"] = difference(cases.ours_of(case), exact, inputs)
    except cases.MissingError as missing:
        row["missing"] = str(missing)
    row["theirs"] = {}
    row["not_run"] = {}
    for name, function in case.others.items():
        if CPU and name != "liger":
            row["not_run"][name] = "needs a GPU"
            continue
        if name != "liger" and dtype == "float32":
            row["not_run"][name] = "takes no float32"
            continue
        try:
            row["theirs"][name] = difference(function, exact, inputs)
        except ImportError as error:
            row["not_run"][name] = f"not installed: {error}"
    return row


def ours_by_kernel() -> AbstractContextManager[None]:
    """Our triton kernels, in the interpreter too, where plain PyTorch would be chosen."""
    return sft_kernels.use_backend("triton")


def show(rows: list[dict[str, Any]]) -> None:
    print("| op | dtype | ours | plain PyTorch | others |")
    print("|---|---|---:|---:|---|")
    for row in rows:
        theirs = [f"{name} {value:.2e}" for name, value in row["theirs"].items()]
        theirs += [f"{name}: {why}" for name, why in row["not_run"].items()]
        ours = f"{row['ours']:.2e}" if "ours" in row else f"missing: {row['missing']}"
        mark = " WORSE" if cases.is_worse(row) else ""
        print(f"| {row['op']} | {row['dtype']} | {ours}{mark} | {row['plain']:.2e} | {'; '.join(theirs)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", nargs="*", help="only these; default all that others have too")
    parser.add_argument("--json", action="store_true", help="print JSON to standard output, and nothing else there")
    given = parser.parse_args()
    chosen = [case for case in cases.CASES if (case.name in given.ops if given.ops else case.others)]
    if unknown := sorted(set(given.ops) - {case.name for case in cases.CASES}):
        parser.error(f"no op is called {unknown[0]!r}; there are {', '.join(case.name for case in cases.CASES)}")
    if CPU:
        correct_interpreter()
    rows = [compared(case, dtype) for case in chosen for dtype in DTYPES]
    if given.json:
        print(json.dumps(rows, indent=2))
    else:
        show(rows)
    worse = sorted({row["op"] for row in rows if cases.is_worse(row)})
    if worse:
        print(f"further from float64 than {cases.ALLOWED} times another library: {', '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
