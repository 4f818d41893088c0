"""One run of axolotl's preprocess command: python peer_axolotl.py TOKENIZER ROWS.jsonl. Needs axolotl."""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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


def main(folder: str, file: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        settings = {
            "base_model": model_of(folder, Path(out, "model")),
            "datasets": [{"path": file, "ds_type": "json", "type": "chat_template", "field_messages": "messages"}],
            "chat_template": "tokenizer_default",
            "sequence_len": 65536,
            "dataset_prepared_path": f"{out}/prepared",
            "output_dir": f"{out}/out",
            "dataset_num_proc": 2,
            "micro_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "learning_rate": 1e-4,
            "special_tokens": {"pad_token": "<|endoftext|>" if "qwen" in folder else "<|end_of_text|>"},
        }
        config = Path(out, "config.yml")
        config.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "axolotl.cli.preprocess", str(config)]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        found = [path.parent for path in Path(out, "prepared").rglob("dataset_info.json")]
        if done.returncode or not found:
            raise SystemExit((done.stderr or done.stdout)[-400:])
        prepared = load_from_disk(str(found[0]))
        tokens = sum(map(len, prepared["input_ids"]))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "cpu": children.ru_utime + children.ru_stime,
        "rows": len(prepared),
        "tokens": tokens,
        "memory_mb": children.ru_maxrss // 1024,
        "note": "the whole command, with its start",
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
