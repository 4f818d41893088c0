"""Holds the estimated memory of a run against what the run allocates at its peak, on the CPU.

uv run python tools/bench/estimate.py [--case NAME ...]   table
uv run python tools/bench/estimate.py --json              the same for a program

Each case is a whole run of a few steps on random weights and random conversations, in a process of its own. What it
allocates is counted by torch's profiler, which sees every tensor of the CPU come and go; its highest sum is the peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen3Config

from sft_schema import parse_config
from sft_train.estimate import Layout, estimate_memory, plan_of, read_shape
from sft_train.run import run
from sft_train.testing import tiny_model, write_conversations

TINY = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4}
SMALL = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8}
BILLION = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
LORA = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "8"}
HALF = {"bf16": "true"}
RECOMPUTED = {"gradient_checkpointing": "true"}
VARLEN = {"attn_implementation": "sft_varlen"}
CASES: dict[str, tuple[dict[str, int], dict[str, str]]] = {
    "tiny, full": (TINY, {}),
    "tiny, full, sft_varlen": (TINY, VARLEN),
    "tiny, full, accumulation 2": (TINY, {"gradient_accumulation_steps": "2"}),
    "tiny, full, bf16": (TINY, VARLEN | HALF),
    "tiny, full, recomputed": (TINY, VARLEN | RECOMPUTED),
    "tiny, LoRA": (TINY, VARLEN | LORA),
    "tiny, LoRA, bf16": (TINY, VARLEN | LORA | HALF),
    "tiny, Qwen3, full": (TINY | {"qwen3": 1}, VARLEN),
    "small, full": (SMALL, VARLEN),
    "small, full, bf16, recomputed": (SMALL, VARLEN | HALF | RECOMPUTED),
    "small, LoRA, bf16, recomputed": (SMALL, VARLEN | LORA | HALF | RECOMPUTED),
    "1B, LoRA, bf16, recomputed": (BILLION, VARLEN | LORA | HALF | RECOMPUTED),
}
VOCABULARY = 4096


def write_run(folder: Path, sizes: dict[str, int], settings: dict[str, str]) -> str:
    """A config, and the model's config and the rows that it names."""
    tiny_model(folder / "model")
    kind = Qwen3Config if sizes.get("qwen3") else LlamaConfig
    kv_heads = sizes["num_attention_heads"] // 2
    head_dim = sizes["hidden_size"] // sizes["num_attention_heads"]
    kept: dict[str, Any] = {key: value for key, value in sizes.items() if key != "qwen3"}
    vocabulary = AutoConfig.from_pretrained(folder / "model").vocab_size
    config = kind(
        **kept,
        vocab_size=max(VOCABULARY, vocabulary),
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        tie_word_embeddings=False,
        architectures=[kind.__name__.replace("Config", "ForCausalLM")],
    )
    config.save_pretrained(folder / "model")
    if "adapter" in settings:
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder / "model")
    write_conversations(folder / "train.jsonl", 200, seed=1, longest=30)
    given = {
        "base_model": str(folder / "model"),
        "reinit_weights": "false" if "adapter" in settings else "true",
        "datasets": f"[{{path: {folder / 'train.jsonl'}}}]",
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "out"),
        "sequence_len": "512",
        "sample_packing": "true",
        "learning_rate": "1e-4",
        "bf16": "false",
        "max_steps": "2",
        "save_strategy": "'no'",
        "train_on_inputs": "true",
    } | settings
    return "".join(f"{key}: {value}\n" for key, value in given.items())


def peak(text: str) -> int:
    """Bytes that a run has allocated when it has most."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run(parse_config(text))
    events: Any = profile.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


def measure(name: str) -> dict[str, Any]:
    """One case, in this process."""
    sizes, settings = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        text = write_run(Path(folder), sizes, settings)
        cfg = parse_config(text)
        shape = read_shape(AutoConfig.from_pretrained(cfg.base_model).to_dict())
        found = estimate_memory(shape, plan_of(cfg, shape, gpu=False), Layout(), gpu=False)
        measured = peak(text)
    return {
        "case": name,
        "weights": shape.weights,
        "moment": found.moment,
        "estimated": round(found.total),
        "measured": measured,
        "ratio": round(found.total / measured, 4),
    }


def each_alone(names: list[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        command = [sys.executable, __file__, "--alone", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--alone", choices=list(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if given.alone:
        print(json.dumps(measure(given.alone)))
        return 0
    runs = list(each_alone(given.case))
    if given.json:
        print(json.dumps({"torch": torch.__version__, "runs": runs}, indent=2))
        return 0
    print("| case | weights | fullest | estimated, MB | measured, MB | ratio |")
    print("|---|---:|---|---:|---:|---:|")
    for each in runs:
        sums = " | ".join(f"{each[key] / 1e6:.1f}" for key in ("estimated", "measured"))
        print(f"| {each['case']} | {each['weights'] / 1e6:,.1f}M | {each['moment']} | {sums} | {each['ratio']:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
