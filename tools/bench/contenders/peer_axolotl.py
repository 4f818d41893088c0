"""One run of axolotl's preprocess command: python peer_axolotl.py TOKENIZER ROWS.jsonl. Needs axolotl."""

import json
import resource
import shutil
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from axolotl.cli.preprocess import do_cli
from datasets import load_from_disk

SIZES = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 65536,
}
"""Of a model that is named in the config and never made: axolotl reads its config.json for every command."""


def model_of(tokenizer: str, folder: Path) -> str:
    """A copy of a tokenizer's folder with the config.json of a model beside it."""
    shutil.copytree(tokenizer, folder)
    kind = "qwen3" if "qwen" in tokenizer else "llama"
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **SIZES}), encoding="utf-8")
    return str(folder)


def main(tokenizer: str, file: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        settings = {
            "base_model": model_of(tokenizer, Path(out, "model")),
            "datasets": [{"path": file, "ds_type": "json", "type": "chat_template", "field_messages": "messages"}],
            "chat_template": "tokenizer_default",
            "sequence_len": SIZES["max_position_embeddings"],
            "dataset_prepared_path": f"{out}/prepared",
            "output_dir": f"{out}/out",
            "dataset_num_proc": 2,
            "micro_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "learning_rate": 1e-4,
            "special_tokens": {"pad_token": "<|endoftext|>" if "qwen" in tokenizer else "<|end_of_text|>"},
        }
        config = Path(out, "config.yml")
        config.write_text(json.dumps(settings), encoding="utf-8")
        sys.argv = sys.argv[:1]  # axolotl reads the command line too
        used, began = cpu(), time.perf_counter()
        with redirect_stdout(sys.stderr):
            do_cli(str(config))
        seconds, spent = time.perf_counter() - began, cpu() - used
        prepared = load_from_disk(str(next(Path(out, "prepared").rglob("dataset_info.json")).parent))
        tokens = sum(map(len, prepared["input_ids"]))
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": seconds,
        "cpu": spent,
        "rows": len(prepared),
        "tokens": tokens,
        "memory_mb": peak // 1024,
        "note": "its preprocess command, without its imports",
    }


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
