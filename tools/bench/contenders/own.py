"""One run of our pipeline, or of encoding alone: python own.py raw|tiktoken|tokenizers|prepare TOKENIZER ROWS.jsonl."""

import json
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from sft_data import prepare
from sft_data.collector import collector_paused
from sft_data.pipeline import Pipeline
from sft_data.row import Row
from sft_data.tokenizer import load_tokenizer
from sft_schema import parse_config
from sft_schema.record import RowOrigin

BATCH = 512


def main(mode: str, folder: str, file: str) -> dict[str, Any]:
    return whole(folder, file) if mode == "prepare" else parts(mode, folder, file)


def whole(folder: str, file: str) -> dict[str, Any]:
    """All of `prepare`, as `sft-data prepare` runs it: reading, hashing, the proof, workers, and the files written."""
    with tempfile.TemporaryDirectory() as prepared_path:
        settings = {
            "base_model": folder,
            "datasets": [{"path": file, "type": "chat_template"}],
            "learning_rate": 1e-4,
            "dataset_prepared_path": prepared_path,
            "sequence_len": 1 << 20,
        }
        used, began = cpu(), time.perf_counter()
        prepared = prepare(parse_config(json.dumps(settings)))
        seconds = time.perf_counter() - began
        own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return {
            "seconds": seconds,
            "cpu": cpu() - used,
            "rows": len(prepared.train),
            "tokens": int(prepared.train.lengths.sum()),
            "memory_mb": max(own, workers) // 1024,
            "engines": prepared.manifest.engines,
        }


def parts(mode: str, folder: str, file: str) -> dict[str, Any]:
    """The arrows from row to sample alone, or encoding alone."""
    if mode == "tokenizers":
        sys.modules["tiktoken"] = None  # as if it were not installed
    settings = {
        "base_model": folder,
        "datasets": [{"path": file, "type": "chat_template"}],
        "learning_rate": 1e-4,
    }
    cfg = parse_config(json.dumps(settings))
    pipeline, dataset = Pipeline(cfg, load_tokenizer(cfg)), cfg.datasets[0]
    tokenizer = pipeline.tokenizer
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    rows = [Row(json.loads(line), RowOrigin(file, index, str(index))) for index, line in enumerate(lines)]
    texts = [pipeline.render(row, dataset)[1].text for row in rows] if mode == "raw" else []
    began = time.perf_counter()
    if mode != "raw":
        tokenizer.encoder.settle(worth_it=True)
        for row in rows[:25]:
            pipeline.masked_row(row, dataset)  # the first rows are masked in two ways
    proof = time.perf_counter() - began
    tokenizer.encoder.rows.clear()
    used, began = cpu(), time.perf_counter()
    if mode == "raw":
        tokens = 0
        for start in range(0, len(texts), BATCH):
            encoded = tokenizer.backend.encode_batch(texts[start : start + BATCH], add_special_tokens=False)
            tokens += sum(map(len, encoded))
    else:
        samples, remaining = [], iter(rows)
        while block := list(islice(remaining, BATCH)):
            with collector_paused():
                samples.extend(masked(block, pipeline, dataset))
        tokens = sum(len(sample.input_ids) for sample in samples)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "cpu": cpu() - used,
        "rows": len(rows),
        "tokens": tokens,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "proof": proof,
        "engines": dict(tokenizer.encoder.rows),
    }


def masked(block: list[Any], pipeline: Any, dataset: Any) -> list[Any]:
    """A block of rows as `prepare` takes it, without its account."""
    found = [each for row in block for each in pipeline.examples(row, dataset)]
    texts, places = [text.text for *_, text in found], [row.origin.place for row, *_ in found]
    encoded = pipeline.tokenizer.encode_rows(texts, places)
    return [
        pipeline.sample(row, pipeline.mask(example, text, tokens, dataset, number=row.origin.row))
        for (row, example, text), tokens in zip(found, encoded, strict=True)
    ]


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
