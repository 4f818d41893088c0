"""Tokens per second of models of 1 and 8 thousand million weights, ours beside TRL's trainer with its settings."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from preprocess import CONTENDERS, peer_python, run_or_stop
from training import QUICKSTART, TEMPLATE

from gpu_suite.row import Row, Scale

SHAPES = {
    "1B": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "8B": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
    },
}
"""Of Llama 3.2 1B and Llama 3.1 8B."""
CASES = {
    "1B, full": {"shape": "1B", "lora": False, "dtype": "float32"},
    "1B, LoRA": {"shape": "1B", "lora": True, "dtype": "float32"},
    "8B, LoRA": {"shape": "8B", "lora": True, "dtype": "bfloat16"},
}
"""The 8B model's frozen weights are in bfloat16, or a GPU of 80 GB would hold little else."""
SETTINGS = {
    "sequence_len": 4096,
    "batch": 2,
    "accumulation": 2,
    "steps": 14,
    "warm_up": 4,
    "rows": 2000,
    "threads": 8,
    "learning_rate": 1e-5,
    "lora_r": 16,
    "device": "cuda",
}
TINY_SETTINGS = SETTINGS | {"sequence_len": 256, "steps": 3, "warm_up": 1, "rows": 40, "threads": 1, "device": "cpu"}
_RUN_SECONDS = 1800
_WORDS = ("one", "two", "three", "seven", "eleven", "red", "green", "north", "month", "plus", "equals")


def write_rows(file: Path, rows: int, longest: int) -> None:
    """Conversations of very different lengths, most of them short."""
    draw = random.Random(rows)
    with file.open("w", encoding="utf-8") as out:
        for _ in range(rows):
            words = max(2, int(longest * draw.random() ** 3))
            asked, answered = (" ".join(draw.choices(_WORDS, k=count)) for count in (4, words))
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
            out.write(json.dumps({"messages": messages}) + "\n")


def case_of(name: str, scale: Scale, folder: Path) -> dict[str, Any]:
    """What a contender is told."""
    tiny = scale.device == "cpu"
    settings, chosen = TINY_SETTINGS if tiny else SETTINGS, CASES[name]
    file = folder / "rows.jsonl"
    if not file.exists():
        write_rows(file, settings["rows"], settings["sequence_len"] // 8)
    shape = {**scale.shape, "vocab_size": 2048} if tiny else SHAPES[chosen["shape"]]
    common = {"tokenizer": str(QUICKSTART / "base"), "file": str(file), "chat_template": TEMPLATE}
    return {**settings, **common, "shape": shape, "lora": chosen["lora"], "dtype": chosen["dtype"]}


def rates(scale: Scale, trl: Path | None) -> list[Row]:
    """A row for each case: tokens/s and peak memory of ours, and of TRL where it is asked for."""
    commands = {"ours": [sys.executable, str(CONTENDERS / "own_gpu_training.py")]}
    if trl is not None:
        commands["TRL"] = [peer_python("trl", trl), str(CONTENDERS / "peer_trl_gpu_training.py")]
    names = list(CASES) if scale.device == "cuda" else ["8B, LoRA"]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            file = Path(scratch) / "case.json"
            file.write_text(json.dumps(case_of(name, scale, Path(scratch))), encoding="utf-8")
            rows.append(_row(name, {who: _run([*command, str(file)]) for who, command in commands.items()}))
    return rows


def _run(command: list[str]) -> dict[str, float] | str:
    """What a contender measured, or why it could not."""
    try:
        return json.loads(run_or_stop(command, _RUN_SECONDS).splitlines()[-1])
    except SystemExit as reason:
        return str(reason)


def _row(name: str, found: dict[str, dict[str, float] | str]) -> Row:
    figures: dict[str, float] = {}
    failed = [f"{who}: {each}" for who, each in found.items() if isinstance(each, str)]
    for who, each in found.items():
        if not isinstance(each, str):
            figures |= {f"{who}, {what}": value for what, value in each.items()}
    if "ours, tokens/s" in figures and "TRL, tokens/s" in figures:
        figures["ours to TRL"] = figures["ours, tokens/s"] / figures["TRL, tokens/s"]
    return Row(name, None if not failed else False, figures, "; ".join(failed))
