"""Everything that only a GPU can show, with one command: correctness in bfloat16, memory, and tokens per second.

uv run python tools/bench/gpu.py                    all parts; tables
uv run python tools/bench/gpu.py --write            the same, and docs/benchmarks/gpu.md and gpu.json
uv run python tools/bench/gpu.py --trl DIR          with TRL beside ours, in an environment that uv makes in DIR
uv run python tools/bench/gpu.py --only attention memory
uv run python tools/bench/gpu.py --self-test        tiny shapes on the CPU: that the suite itself runs

attention    a packed row against its samples one by one, for every backend and implementation that is installed
kernels      the model's layers with kernels and without
optimizers   those with 8-bit and with paged states
memory       peaks against stated limits: fused loss, gradient checkpointing, QLoRA
training     tokens/s of Llamas of 1B and 8B weights, random ones made on the GPU

What is not installed is listed with the reason. It exits with 1 where something is not as it must be, and with 2
without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.append(sys.path.pop(0))  # this folder comes last: its kernels.py must not hide the package of that name

import torch
from gpu_suite.ceilings import ceilings
from gpu_suite.checks import kernels, optimizers, packed_and_apart
from gpu_suite.rates import rates
from gpu_suite.row import FULL, TINY, Row, Scale, of_case

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "gpu.md"
PARTS: dict[str, Callable[[Scale], list[Row]]] = {
    "attention": packed_and_apart,
    "kernels": kernels,
    "optimizers": optimizers,
    "memory": ceilings,
}
TRAINING = "training"
TITLES = {
    "attention": "Packed and apart, in bfloat16",
    "kernels": "Kernels on and off",
    "optimizers": "Optimizers with small or paged states",
    "memory": "Memory",
    TRAINING: "Training",
}
ABOUT = {
    "attention": "Relative distances of the loss and of all gradients from float32, samples one by one, eager.",
    "kernels": "The same for a packed row, and the milliseconds of a forward and a backward pass.",
    "optimizers": "Steps on one batch.",
    "memory": "Peaks over what was allocated before, and limits that follow from what has to be held.",
    TRAINING: "Packed rows of 4096 tokens, 2 x 2 a step, bfloat16, gradient checkpointing, fused AdamW.",
}
PACKAGES = ("torch", "triton", "transformers", "peft", "bitsandbytes", "flash-attn", "flash-attn-3", "trl")


def in_part(name: str, find: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a part; where it breaks as a whole one that says so, so that the others are still shown."""
    rows: list[Row] = []

    def keep() -> Row:
        rows.extend(find())
        return rows[-1]

    broken = of_case(name, keep)
    return rows or [broken]


def machine(scale: Scale) -> dict[str, Any]:
    """What the figures are of: device, versions, commit and time."""
    on_gpu = scale.device == "cuda"
    names = {name: found for name in PACKAGES if (found := installed(name)) is not None}
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if on_gpu else None,
        "compute capability": ".".join(map(str, torch.cuda.get_device_capability())) if on_gpu else None,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "versions": names,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain")),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "self_test": not on_gpu,
    }


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git(*arguments: str) -> str:
    """What git says; nothing where the suite is not in a checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def table(rows: list[Row]) -> Iterable[str]:
    """Markdown, with a column for each figure that a row has."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    yield f"| case | as it must be | {' | '.join([*names, 'what is demanded, or why it was not run'])} |"
    yield "|---|---|" + "---:|" * len(names) + "---|"
    for row in rows:
        verdict = {True: "yes", False: "NO", None: ""}[row.ok]
        cells = [shown(row.figures.get(name)) for name in names]
        yield f"| {' | '.join([row.case, verdict, *cells, row.why])} |"


def shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def page(about: dict[str, Any], found: dict[str, list[Row]]) -> str:
    """All tables, and what they are of."""
    versions = ", ".join(f"{name} {each}" for name, each in about["versions"].items())
    state = " with changes" if about["changed"] else ""
    where = f"{about['device']}, CUDA {about['cuda']}, {versions}; commit {about['commit'] or 'unknown'}{state}"
    lines = ["# On a GPU", "", f"`uv run python tools/bench/gpu.py --write` on {where}, {about['time']}.", ""]
    if about["self_test"]:
        lines += ["Tiny shapes on the CPU: only that the suite runs can be seen here.", ""]
    for name, rows in found.items():
        lines += [f"## {TITLES[name]}", "", ABOUT[name], "", *table(rows), ""]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*PARTS, TRAINING], default=[*PARTS, TRAINING], help="parts")
    parser.add_argument("--trl", type=Path, metavar="DIR", help="also run TRL, installed in DIR")
    parser.add_argument("--self-test", action="store_true", help="tiny shapes on the CPU; figures mean nothing")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)} and its JSON")
    parser.add_argument("--json", action="store_true", help="print JSON to standard output, and nothing else there")
    given = parser.parse_args()
    if given.write and (given.self_test or set(given.only) != {*PARTS, TRAINING}):
        parser.error("--write is for a whole run on a GPU: leave --self-test and --only out")
    return given


def main() -> int:
    given = arguments()
    if not given.self_test and not torch.cuda.is_available():
        print("no GPU was found; --self-test runs the suite itself with tiny shapes", file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore", category=FutureWarning)
    scale = TINY if given.self_test else FULL
    if given.self_test:
        torch.set_num_threads(1)
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed else says on standard output that it found no GPU
    torch.backends.cuda.matmul.fp32_precision = "ieee"  # what is called float32 here is float32
    parts = PARTS | {TRAINING: lambda scale: rates(scale, given.trl)}
    found: dict[str, list[Row]] = {}
    for name in given.only:
        found[name] = in_part(name, lambda part=parts[name]: part(scale))
        print(f"{name} done", file=sys.stderr)
    about = machine(scale)
    every = {"machine": about, "parts": {name: [row._asdict() for row in rows] for name, rows in found.items()}}
    print(json.dumps(every, indent=2) if given.json else page(about, found))
    if given.write:
        PAGE.write_text(page(about, found), encoding="utf-8")
        PAGE.with_suffix(".json").write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")
    return int(any(row.ok is False for rows in found.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
