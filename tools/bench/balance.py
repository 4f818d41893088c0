"""Step time that processes lose by waiting for the busiest, at 8 to 4,096 of them, before and after balancing.

uv run python tools/bench/balance.py [--prepared FOLDER ...]   table; FOLDER is a prepared data set, for its lengths
uv run python tools/bench/balance.py --json                    the same for a program

The rows are those of `plan_packs`, in the order of `plan_packs`, dealt out by what `packing_balance` runs. The work of
a row, forward and backward alike in proportion, is P * tokens + L * D * (sum of its squared lengths): P weights that
multiply each token, and causal attention of L layers and D = heads * head_dim (a sample of s tokens costs 2 * D * s^2
operations a layer forward, a token 2 * P). A number is work of the busiest process over the mean of all, averaged over
steps: 1.25 says that a fifth of the machines' time is waiting. Lengths are drawn again from those of a data set until
there are rows for all steps.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft_data import SampleStore, plan_packs
from sft_data.pack import attention_cost, deal_evenly, steps_alike
from sft_schema.config import PackingSection
from sft_schema.record import PackPlan

SEED = 20_261_125
STEPS = 32
Lengths = NDArray[np.int64]
Costs = NDArray[np.float64]


class Shape(NamedTuple):
    """What a model's work depends on."""

    name: str
    weights: float  # that multiply each token, the head too
    layers: int
    width: int  # heads * head_dim


SHAPES = (
    Shape("1B (Llama 3.2)", 1.24e9, 16, 2048),
    Shape("8B (Llama 3.1)", 7.50e9, 32, 4096),
    Shape("70B (Llama 3.1)", 69.5e9, 80, 8192),
)


def drawn(random: np.random.Generator, count: int) -> dict[str, tuple[Lengths, int]]:
    """Lengths and a `sequence_len` for them, where no prepared data are given."""
    chat = random.lognormal(5.5, 1.0, count).clip(16, 8192)
    documents = random.lognormal(7.6, 1.4, count // 8).clip(32, 65_536)
    return {
        "chat, lognormal, mu 5.5, sigma 1.0": (chat.astype(np.int64), 8192),
        "documents, lognormal, mu 7.6, sigma 1.4": (documents.astype(np.int64), 65_536),
    }


def given_lengths(folders: list[Path], count: int) -> dict[str, tuple[Lengths, int]]:
    """Lengths of prepared data sets, drawn again; the row is the shortest power of two that holds the longest."""
    random = np.random.default_rng(SEED)
    if not folders:
        return drawn(random, count)
    found: dict[str, tuple[Lengths, int]] = {}
    for folder in folders:
        (index,) = folder.glob("**/train.arrow")
        lengths = np.asarray(SampleStore(index).lengths, dtype=np.int64)
        found[folder.name] = (random.choice(lengths, count), 1 << int(lengths.max() - 1).bit_length())
    return found


def work(plan: PackPlan, lengths: Lengths, shape: Shape) -> Costs:
    """Of each row, in operations of a forward pass over 2: float64 `[rows]`."""
    tokens = np.add.reduceat(lengths[plan.samples], plan.row_offsets[:-1])
    return shape.weights * tokens + float(shape.layers * shape.width) * attention_cost(plan, lengths)


def busiest(plan: PackPlan, lengths: Lengths, shape: Shape, processes: int, accumulation: int) -> float:
    """Work of the busiest process over the mean, averaged over whole steps."""
    cost = work(plan, lengths, shape)
    steps = len(cost) // (processes * accumulation)
    each = cost[: steps * processes * accumulation].reshape(steps, accumulation, processes).sum(axis=1)
    return float((each.max(axis=1) / each.mean(axis=1)).mean())


def plans(
    lengths: Lengths, sequence_len: int, processes: int, accumulation: int
) -> Iterator[tuple[str, PackPlan, Lengths]]:
    """The rows of an epoch under each `packing_balance`, one row a micro batch."""
    per_step = processes * accumulation
    needed = int(STEPS * per_step * sequence_len / lengths.mean())
    used = np.resize(lengths, needed)
    plan = plan_packs(used, PackingSection(sequence_len=sequence_len, sample_packing=True))
    cost = attention_cost(plan, used)
    share: dict[str, int] = {"micro_batch_size": 1, "accumulation": accumulation, "processes": processes}
    alike = steps_alike(plan, cost, rows_per_step=per_step, seed=0, epoch=0)
    yield "none", plan, used
    yield "attention", deal_evenly(plan, cost, **share), used
    yield "steps", deal_evenly(alike, attention_cost(alike, used), **share), used


def measure(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A table's row at a time."""
    data = given_lengths(given.prepared, given.samples)
    for (name, (lengths, sequence_len)), processes, accumulation in product(
        data.items(), given.processes, given.accumulation
    ):
        found: dict[str, dict[str, float]] = {shape.name: {} for shape in SHAPES}
        for (balance, plan, used), shape in product(plans(lengths, sequence_len, processes, accumulation), SHAPES):
            found[shape.name][balance] = round(busiest(plan, used, shape, processes, accumulation), 4)
        yield {
            "lengths": name,
            "sequence_len": sequence_len,
            "processes": processes,
            "accumulation": accumulation,
            "busiest": found,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, nargs="+", default=[], help="folders of prepared data sets")
    parser.add_argument("--samples", type=int, default=400_000, help="lengths that are drawn")
    parser.add_argument("--processes", type=int, nargs="+", default=[8, 64, 512, 4096])
    parser.add_argument("--accumulation", type=int, nargs="+", default=[1, 4], help="rows of a process in a step")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if given.json:
        runs = list(measure(given))
        print(json.dumps({"python": platform.python_version(), "numpy": np.__version__, "runs": runs}, indent=2))
        return 0
    columns = [f"{shape.name.split()[0]} {balance}" for shape in SHAPES for balance in ("none", "attention", "steps")]
    print(f"| lengths | sequence_len | processes | rows each | {' | '.join(columns)} |")
    print("|---|" + "---:|" * (len(columns) + 3))
    for run in measure(given):
        cells = " | ".join(f"{ratio:.3f}" for each in run["busiest"].values() for ratio in each.values())
        where = f"{run['lengths']} | {run['sequence_len']:,} | {run['processes']:,} | {run['accumulation']}"
        print(f"| {where} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
