"""The table of loss invariance: measures all cells, prints them, and writes docs/benchmarks/loss-invariance.md.

    python tools/invariance/table.py            the table, and whether all of it is within the tolerance
    python tools/invariance/table.py --write    the same, and the page
    python tools/invariance/table.py --ci       without most cells of triton's interpreter, which takes seconds for each
    python tools/invariance/table.py --json

One process for the cells of one rank, and torchrun with two for the others; see measure.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from itertools import product
from pathlib import Path

from cells import ATTENTION, CUTS, FAULTS, KINDS, LAYOUTS, RANKS, SEEN_FROM, TOLERANCE, WEIGHTS, Cell, Differences

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "loss-invariance.md"
MEASURE = Path(__file__).with_name("measure.py")
Found = dict[Cell, Differences]
_SECONDS = 3600

ABOUT = """\
# Loss invariance

One optimizer step over the same conversations, computed in every way that the trainer has, in float32: how far its \
loss, its gradients and the held-out loss before it are from the same step in float64, computed one conversation at a \
time by plain PyTorch. Each entry has the three largest absolute differences, in that order, in units of 1e-7. \
The tolerance is 1e-5, which is 100 of them.

`python tools/invariance/table.py --write` writes this page; `tests/test_invariance_table.py` measures the table anew, \
and fails where an entry is over the tolerance or a mistake made on purpose is not. Of the entries of triton's \
interpreter, which takes seconds for each, it measures six.

- **Attention**: `sft_varlen` on a CPU runs torch's attention one sample at a time; "triton" is the kernel for GPUs, \
in triton's interpreter. `flex_attention` has no backward pass on a CPU, so there is no gradient; it is torch's \
uncompiled form here.
- **Rows**: packed; padded (one conversation in a row, filled up to the longest of the batch, as models that see \
pictures take them); one by one (one conversation in a row, rows of a batch joined end to end).
- **Trained**: all weights, or those of LoRA, whose B matrices do not start at zero here.
- **Counts**: each trained token counts the same, or what the messages' weights say.
- **Columns**: ranks, and micro batch x accumulation of each rank. The number of conversations, {samples}, divides \
evenly in almost none of them: micro batches are partly filled, and one of two ranks gets a row that trains nothing.

"""


def measured(*, ci: bool) -> Found:
    """All cells; the processes of one rank and of two run one after the other.

    Raises:
        SystemExit: one of them failed; with the end of what it printed.
    """
    found: Found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for ranks in RANKS:
            out = Path(scratch) / f"{ranks}.json"
            command = [*_launcher(ranks), str(MEASURE), str(out), *(["--ci"] if ci else [])]
            # no GPU: the kernels run in the interpreter, and gloo adds up
            env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=env)
            if done.returncode:
                raise SystemExit(f"the cells of {ranks} ranks were not measured:\n{done.stderr[-5000:]}")
            found |= dict(map(of_row, json.loads(out.read_text(encoding="utf-8"))))
    return found


def _launcher(ranks: int) -> list[str]:
    if ranks == 1:
        return [sys.executable]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), *where]


def of_row(row: dict[str, object]) -> tuple[Cell, Differences]:
    """A cell and its differences, of one row of JSON."""
    return Cell(*(row[name] for name in Cell._fields)), Differences(*(row[name] for name in Differences._fields))


def outside(found: Found) -> list[str]:
    """What is not as it must be, a line each: cells over the tolerance, and mistakes that were not seen."""
    lines = []
    for cell, each in found.items():
        if not cell.fault and not each.largest() <= TOLERANCE:
            lines.append(f"{cell}: {each} is over {TOLERANCE:g}")
        if cell.fault and not each.largest() > SEEN_FROM:
            lines.append(f"{cell}: {each}, though the mistake must show as over {SEEN_FROM:g}")
    return lines


def entry(differences: Differences | None) -> str:
    """Loss, gradient and held-out loss, in units of 1e-7."""
    if differences is None:
        return ""
    return ", ".join("-" if each is None else f"{each * 1e7:.1f}" for each in differences)


def table(found: Found) -> Iterable[str]:
    """Markdown: a row for each attention, layout, trained weights and counts, a column for each cut and ranks."""
    columns = list(product(RANKS, CUTS))
    names = (f"{ranks} rank{'s' * (ranks > 1)}, {cut}" for ranks, cut in columns)
    yield f"| attention | rows | trained | counts | {' | '.join(names)} |"
    yield "|" + "---|" * 4 + "---:|" * len(columns)
    for head in product(ATTENTION, LAYOUTS, KINDS, WEIGHTS):
        entries = (entry(found.get(Cell(*head, cut, ranks))) for ranks, cut in columns)
        yield f"| {' | '.join((*head, *entries))} |"


def mistakes(found: Found) -> Iterable[str]:
    """Markdown: the cells with a fault, in plain numbers."""
    yield "| mistake | attention | ranks | loss | gradient | held-out loss |"
    yield "|---|---|---:|---:|---:|---:|"
    for cell, each in found.items():
        if cell.fault:
            numbers = ("-" if each is None else f"{each:.1g}" for each in each)
            yield f"| {cell.fault}: {FAULTS[cell.fault]} | {cell.attention} | {cell.ranks} | {' | '.join(numbers)} |"


def page(found: Found) -> str:
    """The whole page."""
    largest = max(each.largest() for cell, each in found.items() if not cell.fault)
    count = sum(not cell.fault for cell in found)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "triton", "transformers", "peft"))
    machine = platform.machine()
    lines = [
        f"Of {count} cells the largest difference is {largest:.1e}. Measured on {machine} with {versions}.\n",
        *table(found),
        "\n## Mistakes made on purpose\n",
        "The same table with a mistake in the trainer or in its batches, in plain numbers. Each must be further off "
        f"than {SEEN_FROM:g}, or the table would prove nothing.\n",
        *mistakes(found),
    ]
    return ABOUT.format(samples="five") + "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--ci", action="store_true", help="the cells that CI measures")
    parser.add_argument("--json", action="store_true", help="print JSON to standard output, and nothing else there")
    given = parser.parse_args()
    if given.write and given.ci:
        parser.error("--write writes all cells; leave --ci out")
    found = measured(ci=given.ci)
    if given.json:
        print(json.dumps([cell._asdict() | each._asdict() for cell, each in found.items()]))
    else:
        print(page(found))
    wrong = outside(found)
    print("\n".join(wrong), file=sys.stderr)
    if given.write and not wrong:
        PAGE.write_text(page(found), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
