"""One training run of ours: python own_training.py CASE.json."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from sft_schema import parse_config
from sft_train.run import run


def main(case: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(case["threads"])
    with tempfile.TemporaryDirectory() as scratch:
        settings = {
            "base_model": case["model"],
            "datasets": [{"path": case["rows"], "type": "chat_template"}],
            "chat_template_jinja": case["chat_template"],
            "sequence_len": case["sequence_len"],
            "sample_packing": case["packing"],
            "shuffle_merged_datasets": False,
            "micro_batch_size": case["batch"],
            "gradient_accumulation_steps": case["accumulation"],
            "max_steps": case["steps"],
            "learning_rate": case["learning_rate"],
            "lr_scheduler": "constant",
            "optimizer": "adamw_torch",
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "attn_implementation": "sft_varlen",
            "bf16": False,
            "logging_steps": 1,
            "save_strategy": "no",
            "output_dir": f"{scratch}/out",
            "dataset_prepared_path": f"{scratch}/prepared",
        }
        summary = run(parse_config(json.dumps(settings)))
        lines = [json.loads(line) for line in Path(scratch, "out", "metrics.jsonl").read_text().splitlines()]
    return {
        "losses": [line["loss"] for line in lines if "loss" in line],
        "seconds": summary.train_seconds,
        "steps": summary.steps,
        "tokens": summary.tokens,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
