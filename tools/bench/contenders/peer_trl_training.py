"""One training run of TRL's: python peer_trl_training.py CASE.json. Needs trl and torch."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main(case: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(case["threads"])
    tokenizer = AutoTokenizer.from_pretrained(case["model"])
    tokenizer.chat_template = case["chat_template"]
    model = AutoModelForCausalLM.from_pretrained(case["model"], dtype=torch.float32, attn_implementation="sdpa")
    with tempfile.TemporaryDirectory() as scratch:
        rows = load_dataset("json", data_files=case["rows"], split="train", cache_dir=scratch)
        args = SFTConfig(
            output_dir=f"{scratch}/out",
            max_length=case["sequence_len"],
            packing=case["packing"],
            packing_strategy="bfd",
            assistant_only_loss=True,
            train_sampling_strategy="sequential",
            per_device_train_batch_size=case["batch"],
            gradient_accumulation_steps=case["accumulation"],
            max_steps=case["steps"],
            learning_rate=case["learning_rate"],
            lr_scheduler_type="constant",
            optim="adamw_torch",
            weight_decay=0.0,
            max_grad_norm=1.0,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_steps=1,
            logging_first_step=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = SFTTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer)
        outcome = trainer.train()
    logged = [line for line in trainer.state.log_history if "loss" in line]
    return {
        "losses": [line["loss"] for line in logged],
        "seconds": outcome.metrics["train_runtime"],
        "steps": trainer.state.global_step,
        "tokens": int(logged[-1].get("num_tokens", 0)),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
