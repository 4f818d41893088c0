"""Trains the same rows on the same model with ours and with TRL's SFTTrainer, in turn, on this machine's CPU.

uv run python tools/bench/training.py [--steps N] [--runs N] [--cache DIR] [--json]

Model and rows are those of examples/quickstart, in float32, with a template that marks what is trained for both.
Not packed, in the order of the file, both do the same arithmetic: the losses of all steps are compared. Packed, the
rows come together differently, so speed alone is compared: steps of as many rows, and the tokens in them.
TRL runs in an environment of its own, which uv makes in `--cache`. The best of the runs counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from preprocess import CONTENDERS, peer_python, run_or_stop

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CASES = {
    "not packed": {"sequence_len": 256, "packing": False, "batch": 8},
    "packed": {"sequence_len": 512, "packing": True, "batch": 4},
}
_RUN_SECONDS = 900


def case_of(name: str, steps: int) -> dict[str, Any]:
    common = {
        "model": str(QUICKSTART / "base"),
        "rows": str(QUICKSTART / "train.jsonl"),
        "chat_template": TEMPLATE,
        "accumulation": 1,
        "steps": steps,
        "learning_rate": 5e-4,
        "threads": 1,
    }
    return {**common, **CASES[name]}


def measure(case: dict[str, Any], python: str, runs: int) -> dict[str, dict[str, Any]]:
    """The best run of each contender."""
    commands = {
        "ours": [sys.executable, str(CONTENDERS / "own_training.py")],
        "trl": [python, str(CONTENDERS / "peer_trl_training.py")],
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "case.json"
        file.write_text(json.dumps(case), encoding="utf-8")
        every = [{name: run_one([*command, str(file)]) for name, command in commands.items()} for _ in range(runs)]
    return {name: min((each[name] for each in every), key=lambda found: found["seconds"]) for name in commands}


def run_one(command: list[str]) -> dict[str, Any]:
    found = json.loads(run_or_stop(command, _RUN_SECONDS).splitlines()[-1])
    rates = {f"{what}_per_s": round(found[what] / found["seconds"], 3) for what in ("steps", "tokens")}
    return {**found, **rates}


def largest_difference(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of a run")
    parser.add_argument("--runs", type=int, default=2, help="runs of each contender")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "sft-bench-peers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    python = peer_python("trl", given.cache)
    found = {name: measure(case_of(name, given.steps), python, given.runs) for name in CASES}
    rates = {name: each["ours"]["steps_per_s"] / each["trl"]["steps_per_s"] for name, each in found.items()}
    difference = largest_difference(*(found["not packed"][who]["losses"] for who in ("ours", "trl")))
    if given.json:
        about = {"steps_per_s_ours_to_trl": rates, "largest_difference_of_a_loss": difference}
        print(json.dumps({**about, "runs": found}, indent=2))
        return 0
    print(
        "| case | trainer | steps/s | tokens/s | loss of the first step | of the last |\n|---|---|---:|---:|---:|---:|"
    )
    for name, contenders in found.items():
        for who, row in contenders.items():
            losses = f"{row['losses'][0]:.5f} | {row['losses'][-1]:.5f}"
            print(f"| {name} | {who} | {row['steps_per_s']:.2f} | {row['tokens_per_s']:,.0f} | {losses} |")
    print(f"\nSteps/s of ours to TRL's: {', '.join(f'{name} {rate:.2f}' for name, rate in rates.items())}.")
    print(f"Not packed, the largest difference of a step's loss is {difference:.1e}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
