"""The same with TRL's SFTTrainer: python peer_trl_gpu_training.py CASE.json. Needs trl, peft and torch.

Packing is TRL's default, best-fit decreasing, in batches without padding where flash-attn is installed, else with
torch's sdpa; bf16, gradient checkpointing and fused AdamW are as for ours.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Seconds at the end of a step, once the GPU is done with it; TRL logs the tokens."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up, self.marks = warm_up, []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in (self.warm_up, state.max_steps):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.marks.append(time.perf_counter())


def arguments(case: dict[str, Any], scratch: str) -> SFTConfig:
    return SFTConfig(
        output_dir=f"{scratch}/out",
        max_length=case["sequence_len"],
        packing=True,
        packing_strategy="bfd",
        assistant_only_loss=True,
        per_device_train_batch_size=case["batch"],
        gradient_accumulation_steps=case["accumulation"],
        max_steps=case["steps"],
        learning_rate=case["learning_rate"],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused" if case["device"] == "cuda" else "adamw_torch",
        gradient_checkpointing=True,
        bf16=True,
        use_cpu=case["device"] == "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def main(case: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(case["threads"])
    tokenizer = AutoTokenizer.from_pretrained(case["tokenizer"])
    tokenizer.chat_template = case["chat_template"]
    attention = "flash_attention_2" if importlib.util.find_spec("flash_attn") else "sdpa"
    config = LlamaConfig(**case["shape"], max_position_embeddings=131072, attn_implementation=attention)
    torch.set_default_dtype(getattr(torch, case["dtype"]))
    with torch.device(case["device"]):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    lora = {"peft_config": LoraConfig(r=case["lora_r"], target_modules="all-linear")} if case["lora"] else {}
    clock = Clock(case["warm_up"])
    with tempfile.TemporaryDirectory() as scratch:
        rows = load_dataset("json", data_files=case["file"], split="train", cache_dir=scratch)
        trainer = SFTTrainer(
            model,
            args=arguments(case, scratch),
            train_dataset=rows,
            processing_class=tokenizer,
            callbacks=[clock],
            **lora,
        )
        trainer.train()
    tokens = {line["step"]: line["num_tokens"] for line in trainer.state.log_history if "num_tokens" in line}
    peak = torch.cuda.max_memory_allocated() if case["device"] == "cuda" else 0
    rate = (tokens[case["steps"]] - tokens[case["warm_up"]]) / (clock.marks[1] - clock.marks[0])
    return {"tokens/s": rate, "peak GiB": peak / 2**30}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
