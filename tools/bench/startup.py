"""Times how long the `sft` command and imports of the packages take, against an empty Python program.

uv run python tools/bench/startup.py [--runs N]   a table
uv run python tools/bench/startup.py --json       the same for a program

Each program runs N times as a process of its own, in turn with the others: the fastest run of each, and the median.
Modules are compiled to bytecode first, as `UV_COMPILE_BYTECODE=1` or pip do at installation.
"""

from __future__ import annotations

import argparse
import compileall
import json
import platform
import site
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
FLOOR = "python -c pass"
OF_DATA = ("numpy", "pyarrow", "jinja2", "tokenizers")
DATA_SETS = 55
"""Data sets of the config that is validated, five lines each: 304 lines with the rest."""


def config_of_300_lines() -> str:
    entries = "".join(
        f"  - path: data/part-{number}.jsonl\n    type: chat_template\n    field_messages: messages\n"
        f"    split: train\n    train_on_eos: turn\n"
        for number in range(DATA_SETS)
    )
    rest = {
        "base_model": "some/model-1B",
        "learning_rate": 2e-4,
        "adapter": "lora",
        "lora_r": 32,
        "lora_alpha": 32,
        "sequence_len": 4096,
        "sample_packing": True,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "num_epochs": 2,
        "optimizer": "adamw_torch_fused",
        "lr_scheduler": "cosine",
        "warmup_ratio": 0.03,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": "auto",
        "gradient_checkpointing": True,
        "attn_implementation": "sdpa",
        "output_dir": "out",
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "val_set_size": 0.05,
        "eval_strategy": "epoch",
        "logging_steps": 5,
        "use_tensorboard": True,
        "seed": 1,
    }
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in rest.items()]
    return "".join([*lines, "lora_target_linear: true\n", "dataset_prepared_path: prepared\n", "datasets:\n", entries])


def timed(commands: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each command."""
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            took[name].append(time.perf_counter() - began)
    return took


def measure(runs: int) -> dict[str, dict[str, float]]:
    for folder in [*map(Path, site.getsitepackages()), *ROOT.glob("packages/*/src")]:
        for package in ("", "pydantic", "yaml", "click", "rich", "sft_*", *OF_DATA):
            for found in folder.glob(package) if package else [folder]:
                compileall.compile_dir(found, quiet=2, maxlevels=0 if not package else 10)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(config_of_300_lines(), encoding="utf-8")
        lines = len(config.read_text(encoding="utf-8").splitlines())
        commands = {
            FLOOR: [sys.executable, "-c", "pass"],
            "import pydantic": [sys.executable, "-c", "import pydantic.main"],
            "import sft_schema": [sys.executable, "-c", "import sft_schema"],
            "import pyarrow": [sys.executable, "-c", "import pyarrow"],
            "import sft_data": [sys.executable, "-c", "import sft_data"],
            "from sft_data import prepare": [sys.executable, "-c", "from sft_data import prepare"],
            "sft --help": [sys.executable, "-m", "sft_cli", "--help"],
            f"sft validate ({lines} lines)": [sys.executable, "-m", "sft_cli", "validate", str(config)],
            "sft config-schema": [sys.executable, "-m", "sft_cli", "config-schema"],
        }
        took = timed(commands, runs)
    floor = min(took[FLOOR])
    return {
        name: {"seconds": round(min(each), 4), "median": round(median(each), 4), "ratio": round(min(each) / floor, 1)}
        for name, each in took.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="runs of each program (default 15)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found = measure(given.runs)
    if given.json:
        print(json.dumps({"python": platform.python_version(), "programs": found}, indent=2))
        return 0
    print(f"Python {platform.python_version()}, fastest and median of {given.runs} runs\n")
    print("| program | seconds | median | times `python -c pass` |\n|---|---:|---:|---:|")
    for name, row in found.items():
        print(f"| `{name}` | {row['seconds']:.3f} | {row['median']:.3f} | {row['ratio']:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
