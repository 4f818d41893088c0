"""Times the packing plans and holds their efficiency against the lower bound, over four distributions of lengths.

uv run python tools/bench/packing.py [--samples N ...]   tables
uv run python tools/bench/packing.py --json              the same for a program

`efficiency` is the share of the rows' tokens that samples fill; `bound` is the highest that any packing can reach
by counting tokens alone (rows are whole). Beside the strategies of `plan_packs` and `pack_stream`: what axolotl and
TRL do, written anew after `peer_packers.py`; they are left out above 100,000 samples, where they do nothing new.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from peer_packers import PEERS

from sft_data import plan_packs
from sft_data.pack import attention_cost, deal_evenly, pack_stream
from sft_schema.config import PackingSection

SEED = 20_261_124
SEQUENCE_LENS = (2048, 4096, 8192)
PEERS_UP_TO = 100_000
STREAM_UP_TO = 1_000_000
PROCESSES, ACCUMULATION = 8, 4
Lengths = NDArray[np.int64]
Strategy = Literal["bfd", "bfd_split", "ffd", "spfhp", "sequential", "wrapped"]


def distributions(samples: int) -> dict[str, Lengths]:
    """Lengths of at least 1 token; those over a row are cut to it, except for `bfd_split`."""
    random = np.random.default_rng(SEED)
    short = random.normal(200, 40, samples)
    long = random.normal(1800, 100, samples)
    return {
        "instructions": random.lognormal(5.2, 0.7, samples).astype(np.int64).clip(16),
        "uniform 32 to 2048": random.integers(32, 2049, samples),
        "lognormal, mu 6, sigma 1.2": random.lognormal(6, 1.2, samples).astype(np.int64).clip(1),
        "70% about 200, 30% about 1800": np.where(random.random(samples) < 0.7, short, long).astype(np.int64).clip(1),
    }


def packers(lengths: Lengths, sequence_len: int) -> dict[str, Callable[[], tuple[int, int]]]:
    """Name to a function that packs and gives the number of rows and of tokens."""
    sizes = lengths.clip(max=sequence_len)

    def by(strategy: Strategy) -> Callable[[], tuple[int, int]]:
        cfg = PackingSection(sequence_len=sequence_len, sample_packing=True, packing_strategy=strategy)
        given = lengths if strategy == "bfd_split" else sizes

        def pack() -> tuple[int, int]:
            plan = plan_packs(given, cfg)
            return len(plan), plan.tokens

        return pack

    def stream() -> tuple[int, int]:
        packed = pack_stream(sizes.tolist(), sequence_len)
        return sum(1 for _ in packed), packed.tokens

    found = {name: by(name) for name in get_args(Strategy)}
    if len(sizes) <= STREAM_UP_TO:
        found["stream of 10,000"] = stream
    if len(sizes) <= PEERS_UP_TO:
        found |= {name: lambda peer=peer: (peer(sizes, sequence_len), int(sizes.sum())) for name, peer in PEERS.items()}
    return found


def unevenness(lengths: Lengths, sequence_len: int) -> dict[str, float]:
    """Attention cost of the busiest of 8 processes over the mean, averaged over steps of 4 micro batches of a row.

    `floor` is what no way of dealing out the rows gets below: the process with the costliest row has at least that.
    """
    sizes = lengths.clip(max=sequence_len)
    plan = plan_packs(sizes, PackingSection(sequence_len=sequence_len, sample_packing=True))
    cost = attention_cost(plan, sizes)
    dealt = deal_evenly(plan, cost, micro_batch_size=1, accumulation=ACCUMULATION, processes=PROCESSES)
    found: dict[str, float] = {}
    for name, rows in (("none", cost), ("attention", attention_cost(dealt, sizes))):
        steps = len(rows) // (PROCESSES * ACCUMULATION)
        spent = rows[: steps * PROCESSES * ACCUMULATION].reshape(steps, ACCUMULATION, PROCESSES).sum(axis=1)
        found[name] = round(float((spent.max(axis=1) / spent.mean(axis=1)).mean()), 4) if steps else 1.0
        costliest = rows[: spent.size * ACCUMULATION].reshape(steps, -1).max(axis=1, initial=0)
        found["floor"] = round(float(np.maximum(costliest / spent.mean(axis=1), 1).mean()), 4) if steps else 1.0
    return found


def measure(name: str, lengths: Lengths, sequence_len: int) -> dict[str, Any]:
    efficiency: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for packer, pack in packers(lengths, sequence_len).items():
        began = time.perf_counter()
        rows, tokens = pack()
        seconds[packer] = round(time.perf_counter() - began, 3)
        efficiency[packer] = round(tokens / (rows * sequence_len), 6)
    tokens = int(lengths.clip(max=sequence_len).sum())
    return {
        "lengths": name,
        "samples": len(lengths),
        "sequence_len": sequence_len,
        "bound": round(tokens / (-(-tokens // sequence_len) * sequence_len), 6),
        "efficiency": efficiency,
        "seconds": seconds,
        "busiest_process": unevenness(lengths, sequence_len),
    }


def table(runs: list[dict[str, Any]], columns: list[str], cell: Callable[[dict[str, Any], str], str]) -> None:
    print(f"| lengths | samples | sequence_len | {' | '.join(columns)} |")
    print("|---|" + "---:|" * (len(columns) + 2))
    for run in runs:
        cells = " | ".join(cell(run, column) for column in columns)
        print(f"| {run['lengths']} | {run['samples']:,} | {run['sequence_len']} | {cells} |")
    print()


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}%"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[50_000, 1_000_000], help="how many lengths")
    parser.add_argument("--sequence-lens", type=int, nargs="+", default=SEQUENCE_LENS, help="tokens of a row")
    parser.add_argument("--lengths", default="", help="only distributions whose name contains this")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    runs = [
        measure(name, lengths, sequence_len)
        for samples in given.samples
        for name, lengths in distributions(samples).items()
        if given.lengths in name
        for sequence_len in given.sequence_lens
    ]
    if given.json:
        print(json.dumps({"python": platform.python_version(), "numpy": np.__version__, "runs": runs}, indent=2))
        return 0
    names = list(dict.fromkeys(name for run in runs for name in run["seconds"]))
    table(runs, ["bound", *names], lambda run, name: percent(run.get(name) or run["efficiency"].get(name)))
    table(runs, names, lambda run, name: f"{run['seconds'][name]:.2f}" if name in run["seconds"] else "")
    table(runs, ["none", "attention", "floor"], lambda run, name: f"{run['busiest_process'][name]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
