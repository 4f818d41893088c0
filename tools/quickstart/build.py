"""Rebuilds everything in examples/quickstart from nothing: `python -m tools.quickstart.build`.

Run from the repository root. `--steps data tokenizer` runs only some of the steps, in their own order. Pretraining
takes about ten minutes on two cores; the other steps take seconds.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tools.quickstart import chats, corpus, make_base, make_tokenizer

EXAMPLE = Path("examples/quickstart")
BASE = EXAMPLE / "base"
WORK = Path("outputs/quickstart-base")
PRETRAIN = Path("tools/quickstart/pretrain.yaml")


def pretrain() -> None:
    """Trains the base on the corpus, with the command that users train with."""
    subprocess.run(["sft", "train", str(PRETRAIN)], check=True)


def store_weights(source: Path = WORK / "model", target: Path = BASE) -> None:
    """Copies the trained weights beside the config, in bfloat16, without the embedding's tied copy."""
    tensors = load_file(source / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    halved = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    save_file(halved, target / "model.safetensors", metadata={"format": "pt"})


STEPS: dict[str, Callable[[], None]] = {
    "data": lambda: chats.write(EXAMPLE),
    "tokenizer": lambda: make_tokenizer.write(BASE),
    "config": lambda: make_base.write(BASE),
    "corpus": lambda: corpus.write(WORK / "corpus.jsonl"),
    "pretrain": pretrain,
    "weights": store_weights,
}


def main() -> None:
    """Runs the chosen steps."""
    parser = argparse.ArgumentParser(description="Rebuild the quickstart's data, tokenizer and base model.")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS))
    chosen = parser.parse_args().steps
    for name, step in STEPS.items():
        if name in chosen:
            print(f"quickstart: {name}", flush=True)
            step()


if __name__ == "__main__":
    main()
