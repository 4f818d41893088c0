"""Times the packing plan and holds its efficiency against the lower bound, over four distributions of lengths.

uv run python tools/bench/packing.py [--samples N ...]   a table
uv run python tools/bench/packing.py --json              the same for a program

`efficiency` is the share of the rows' tokens that samples fill; `bound` is the highest that any packing can reach
by counting tokens alone (rows are whole); `next fit` keeps the order of the samples, as a stream is packed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft_data import plan_packs
from sft_schema.config import PackingSection

SEED = 20_261_124
SEQUENCE_LENS = (2048, 4096, 8192)
Lengths = NDArray[np.int64]


def distributions(samples: int) -> dict[str, Lengths]:
    """Lengths of at least 1 token; those over a row are cut to it."""
    random = np.random.default_rng(SEED)
    short = random.normal(200, 40, samples)
    long = random.normal(1800, 100, samples)
    return {
        "instructions": random.lognormal(5.2, 0.7, samples).astype(np.int64).clip(16),
        "uniform 32 to 2048": random.integers(32, 2049, samples),
        "lognormal, mu 6, sigma 1.2": random.lognormal(6, 1.2, samples).astype(np.int64).clip(1),
        "70% about 200, 30% about 1800": np.where(random.random(samples) < 0.7, short, long).astype(np.int64).clip(1),
    }


def next_fit_rows(lengths: Lengths, sequence_len: int) -> int:
    """Rows when each sample goes into the last row, or opens one."""
    ends = np.cumsum(lengths)
    rows, first, before = 0, 0, 0
    while first < len(lengths):
        first = int(np.searchsorted(ends, before + sequence_len, side="right"))
        before = int(ends[first - 1])
        rows += 1
    return rows


def measure(samples: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, lengths in distributions(samples).items():
        for sequence_len in SEQUENCE_LENS:
            sizes = lengths.clip(max=sequence_len)
            cfg = PackingSection(sequence_len=sequence_len, sample_packing=True)
            began = time.perf_counter()
            plan = plan_packs(sizes, cfg)
            seconds = time.perf_counter() - began
            tokens = int(sizes.sum())
            rows = {"bound": -(-tokens // sequence_len), "next_fit": next_fit_rows(sizes, sequence_len)}
            shares = {key: round(tokens / (count * sequence_len), 4) for key, count in rows.items()}
            found.append(
                {"lengths": name, "sequence_len": sequence_len, "samples": samples, "rows": len(plan)}
                | {"efficiency": round(plan.efficiency, 4), **shares, "seconds": round(seconds, 3)}
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[50_000, 1_000_000], help="how many lengths")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found = [row for samples in given.samples for row in measure(samples)]
    if given.json:
        print(json.dumps({"python": platform.python_version(), "numpy": np.__version__, "runs": found}, indent=2))
        return 0
    print("| lengths | samples | sequence_len | efficiency | bound | next fit | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in found:
        shares = " | ".join(f"{100 * row[key]:.2f}%" for key in ("efficiency", "bound", "next_fit"))
        print(f"| {row['lengths']} | {row['samples']:,} | {row['sequence_len']} | {shares} | {row['seconds']:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
