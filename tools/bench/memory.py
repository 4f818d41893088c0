"""The memory that a preparation takes, against the number of rows.

uv run python tools/bench/memory.py [--rows 100000,1000000] [--processes 2] [--json]

Writes so many short conversations, and prepares them in a process of its own with the quickstart's tokenizer. The peak
is what the system says of the process that reads and of the largest of its workers.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sft_data import prepare
from sft_schema import parse_config

BASE = Path(__file__).parents[2] / "examples" / "quickstart" / "base"
WORDS = [
    "one",
    "two",
    "three",
    "seven",
    "eleven",
    "red",
    "green",
    "north",
    "south",
    "day",
    "month",
    "year",
    "plus",
    "minus",
    "equals",
]


def write_rows(file: Path, rows: int) -> None:
    draw = random.Random(rows)
    with file.open("w", encoding="utf-8") as out:
        for number in range(rows):
            question, answer = (" ".join(draw.choices(WORDS, k=draw.randint(2, 12))) for _ in range(2))
            messages = [{"role": "user", "content": f"{number} {question}"}, {"role": "assistant", "content": answer}]
            out.write(json.dumps({"messages": messages}) + "\n")


def one(file: str, folder: str, processes: str) -> dict[str, Any]:
    """Prepares a file in this process, and says what that took."""
    settings = {
        "base_model": str(BASE),
        "datasets": [{"path": file}],
        "learning_rate": 1e-4,
        "dataset_prepared_path": folder,
        "dataset_num_proc": int(processes),
    }
    began = time.perf_counter()
    prepared = prepare(parse_config(json.dumps(settings)))
    seconds = time.perf_counter() - began
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "rows": len(prepared.train),
        "tokens": int(prepared.train.lengths.sum()),
        "seconds": round(seconds, 1),
        "reader_mb": round(peaks[0]),
        "worker_mb": round(peaks[1]),
    }


def measure(rows: int, processes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.jsonl"
        write_rows(file, rows)
        size = file.stat().st_size
        command = [sys.executable, __file__, "--one", str(file), f"{scratch}/prepared", str(processes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-1000:])
        return {"file_mb": round(size / 1e6), **json.loads(done.stdout.splitlines()[-1])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="100000,300000,1000000", help="numbers of rows, with commas")
    parser.add_argument("--processes", type=int, default=2, help="worker processes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(*given.one)))
        return 0
    runs = [measure(int(rows), given.processes) for rows in given.rows.split(",")]
    slope = None
    if len(runs) > 1:
        grown, more = runs[-1]["reader_mb"] - runs[0]["reader_mb"], runs[-1]["rows"] - runs[0]["rows"]
        slope = round(grown * 2**20 / more, 1) if more else None
    if given.json:
        print(json.dumps({"runs": runs, "reader_bytes_per_row": slope}, indent=2))
        return 0
    print("| rows | tokens | file MB | seconds | reader, peak MB | largest worker, peak MB |")
    print("|---:|---:|---:|---:|---:|---:|")
    for run in runs:
        cells = (run["rows"], run["tokens"], run["file_mb"], run["seconds"], run["reader_mb"], run["worker_mb"])
        print("| " + " | ".join(f"{each:,}" for each in cells) + " |")
    print(f"\nThe reader's peak grows by {slope} bytes a row.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
