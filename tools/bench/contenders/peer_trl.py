"""One run of TRL's preparation: python peer_trl.py TOKENIZER ROWS.jsonl. Needs trl and torch."""

import json
import resource
import sys
import tempfile
import time
from typing import Any

from datasets import load_dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

MASKED = "qwen3"
"""TRL brings a template that marks the assistant's turns for Qwen3, and none for Llama 3.1."""


def main(folder: str, file: str) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("json", data_files=file, split="train", cache_dir=cache)
        args = SFTConfig(
            output_dir=cache,
            max_length=None,
            dataset_num_proc=2,
            assistant_only_loss=MASKED in folder,
            report_to="none",
            use_cpu=True,
            bf16=False,
        )
        used, began = cpu(), time.perf_counter()
        trainer = SFTTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer)
        seconds, spent = time.perf_counter() - began, cpu() - used
        prepared = trainer.train_dataset
        tokens = sum(map(len, prepared["input_ids"]))
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": seconds,
        "cpu": spent,
        "rows": len(prepared),
        "tokens": tokens,
        "memory_mb": peak // 1024,
        "note": "with assistant mask" if args.assistant_only_loss else "no mask: it has none for this template",
    }


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
