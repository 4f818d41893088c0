"""One run of our pipeline, or of encoding alone: python own.py raw|tiktoken|tokenizers|prepare TOKENIZER ROWS.jsonl."""

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sft_data import prepare
from sft_data.collector import collector_paused
from sft_data.env import cores, one_thread_each
from sft_data.pipeline import Pipeline
from sft_data.row import Row
from sft_data.tokenizer import load_tokenizer
from sft_schema import parse_config
from sft_schema.record import RowOrigin

BATCH = 512
WORKER: list[Any] = []
"""The pipeline and the data set of a worker process."""


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
    began = time.perf_counter()
    pipeline, dataset = ready(mode, folder, file)
    proof = time.perf_counter() - began
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    rows = [Row(json.loads(line), RowOrigin(file, index, str(index))) for index, line in enumerate(lines)]
    blocks = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    if mode == "raw":
        backend = pipeline.tokenizer.backend
        texts = [[pipeline.render(row, dataset)[1].text for row in block] for block in blocks]
        used, began = cpu(), time.perf_counter()
        tokens = sum(sum(map(len, backend.encode_batch(block, add_special_tokens=False))) for block in texts)
        seconds, engines = time.perf_counter() - began, {}
        used = cpu() - used
    else:
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(cores(), start, (mode, folder, file)) as pool:
            pool.map(warm, [rows[:25]] * 2 * cores(), chunksize=1)
            began = time.perf_counter()
            done = list(pool.imap(masked, blocks))
            seconds = time.perf_counter() - began
        tokens, used = sum(each[0] for each in done), sum(each[1] for each in done)
        engines = sum((each[2] for each in done), Counter())
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": seconds,
        "cpu": used,
        "rows": len(rows),
        "tokens": tokens,
        "memory_mb": max(own, workers) // 1024,
        "proof": proof,
        "engines": dict(engines),
    }


def ready(mode: str, folder: str, file: str) -> tuple[Pipeline, Any]:
    """The arrows of a config, with the encoder chosen."""
    if mode == "tokenizers":
        sys.modules["tiktoken"] = None  # as if it were not installed
    settings = {
        "base_model": folder,
        "datasets": [{"path": file, "type": "chat_template"}],
        "learning_rate": 1e-4,
    }
    cfg = parse_config(json.dumps(settings))
    pipeline = Pipeline(cfg, load_tokenizer(cfg))
    if mode != "raw":
        pipeline.tokenizer.encoder.settle(worth_it=True)
    return pipeline, cfg.datasets[0]


def start(mode: str, folder: str, file: str) -> None:
    """In a worker process."""
    one_thread_each()
    WORKER.extend(ready(mode, folder, file))
    WORKER[0].tokenizer.encoder.threads = 1


def warm(rows: list[Row]) -> None:
    """The first rows are masked in two ways."""
    for row in rows:
        WORKER[0].masked_row(row, WORKER[1])
    time.sleep(0.2)  # so that each worker gets some


def masked(block: list[Row]) -> tuple[int, float, Counter[str]]:
    """A block of rows as `prepare` takes it, without its account: tokens, seconds of the processor, engines."""
    pipeline, dataset = WORKER
    used, encoder = cpu(), pipeline.tokenizer.encoder
    encoder.rows.clear()
    with collector_paused():
        found = [each for row in block for each in pipeline.examples(row, dataset)]
        texts, places = [text.text for *_, text in found], [row.origin.place for row, *_ in found]
        encoded = encoder.encode_rows(texts, places)
        samples = [
            pipeline.sample(row, pipeline.mask(example, text, tokens, dataset, number=row.origin.row))
            for (row, example, text), tokens in zip(found, encoded, strict=True)
        ]
    return sum(len(sample.input_ids) for sample in samples), cpu() - used, Counter(encoder.rows)


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
