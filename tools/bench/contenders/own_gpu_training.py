"""Tokens per second of ours: python own_gpu_training.py CASE.json.

The model has random weights, which are made on its device.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from sft_data import prepare
from sft_kernels.transformers import register_attention
from sft_schema import SftConfig, parse_config
from sft_train.adapter import add_adapter
from sft_train.compute import resolve_compute
from sft_train.model import fuse_layers, load_tokenizer
from sft_train.trainer import SftTrainer, training_arguments


class Clock(TrainerCallback):
    """Tokens and seconds at the end of a step, once the GPU is done with it."""

    trainer: SftTrainer

    def __init__(self, warm_up: int) -> None:
        self.warm_up, self.marks = warm_up, []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Notes the first step that counts, and the last."""
        if state.global_step in (self.warm_up, state.max_steps):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.marks.append((time.perf_counter(), self.trainer.throughput.tokens))


def config_of(case: dict[str, Any], scratch: str) -> SftConfig:
    """The case as a config of ours."""
    lora = {"adapter": "lora", "lora_target_linear": True, "lora_r": case["lora_r"]} if case["lora"] else {}
    settings = {
        "base_model": case["tokenizer"],
        "datasets": [{"path": case["file"], "type": "chat_template"}],
        "chat_template_jinja": case["chat_template"],
        "sequence_len": case["sequence_len"],
        "sample_packing": True,
        "micro_batch_size": case["batch"],
        "gradient_accumulation_steps": case["accumulation"],
        "max_steps": case["steps"],
        "learning_rate": case["learning_rate"],
        "lr_scheduler": "constant",
        "optimizer": "adamw_torch_fused" if case["device"] == "cuda" else "adamw_torch",
        "gradient_checkpointing": True,
        "attn_implementation": "sft_varlen",
        "bf16": True,
        "save_strategy": "no",
        "output_dir": f"{scratch}/out",
        "dataset_prepared_path": f"{scratch}/prepared",
    }
    return parse_config(json.dumps({**settings, **lora}))


def main(case: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(case["threads"])
    with tempfile.TemporaryDirectory() as scratch:
        cfg = config_of(case, scratch)
        compute, prepared = resolve_compute(cfg), prepare(cfg)
        args = training_arguments(cfg, compute)
        config = LlamaConfig(**case["shape"], max_position_embeddings=131072, attn_implementation=register_attention())
        torch.set_default_dtype(getattr(torch, case["dtype"]))
        with torch.device(case["device"]):
            base = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
        model = add_adapter(base, cfg)
        fuse_layers(model, cfg, compute)
        tokenizer, clock = load_tokenizer(cfg, prepared.tokenizer, base), Clock(case["warm_up"])
        trainer = SftTrainer(model, args, cfg=cfg, prepared=prepared, tokenizer=tokenizer, callbacks=[clock])
        clock.trainer = trainer
        trainer.train()
    (began, before), (ended, after) = clock.marks
    peak = torch.cuda.max_memory_allocated() if case["device"] == "cuda" else 0
    return {"tokens/s": (after - before) / (ended - began), "peak GiB": peak / 2**30}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
