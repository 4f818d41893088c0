"""Blocks to shards, in this process or in several.

reader (this process)    block 0   block 1   block 2   block 3 ...
worker a                 shard 0             shard 2
worker b                           shard 1             shard 3
accounts                 0         1         2         3            taken in this order, whoever was first
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sft_data.block import Block
from sft_data.env import cores, one_thread_each
from sft_data.pipeline import Pipeline
from sft_data.store import ShardInfo, read_shard_info
from sft_data.tokenizer import TextTokenizer
from sft_data.work import make_shard
from sft_schema import DataError, SftConfig

_MOST_PROCESSES = 16
_FEW_CHARACTERS = 1 << 23
"""As many take about as long to encode as it takes to start processes, or to prove a faster engine."""
_BLOCKS_EACH = 2
"""Blocks that wait for a worker, or for their turn to be counted: what bounds the memory of the reader."""


class WorkerKilledError(DataError):
    """A worker process ended by itself; the shards that are done can be gone on from."""


def make_shards(cfg: SftConfig, pipeline: Pipeline, blocks: Iterator[Block], folder: Path) -> Iterator[ShardInfo]:
    """The shards of all blocks in the order of their numbers; those that are there already are not made again.

    Args:
        cfg: `dataset_num_proc` says how many processes; without it one for each core, or this one alone for data that
            are done before the others would have started.
        pipeline: the config's arrows, for the work of this process.
        blocks: in order.
        folder: of the shards.

    Raises:
        DataError: see `prepare`; or a worker was killed.
    """
    first = _first(blocks, _FEW_CHARACTERS)
    blocks = chain(first, blocks)
    many = sum(block.characters for block in first) >= _FEW_CHARACTERS
    pipeline.tokenizer.encoder.settle(worth_it=many)
    processes = cfg.dataset_num_proc or (min(cores(), _MOST_PROCESSES) if many else 1)
    if processes == 1:
        for block in blocks:
            yield read_shard_info(folder, block.number) or make_shard(cfg, pipeline, block, folder)
        return
    yield from _in_processes(cfg, pipeline.tokenizer, blocks, folder, processes)


def _first(blocks: Iterator[Block], characters: int) -> list[Block]:
    """So many blocks that they hold so many characters, or all there are."""
    first: list[Block] = []
    while sum(block.characters for block in first) < characters and (block := next(blocks, None)):
        first.append(block)
    return first


def _in_processes(
    cfg: SftConfig, tokenizer: TextTokenizer, blocks: Iterator[Block], folder: Path, processes: int
) -> Iterator[ShardInfo]:
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of running threads
    pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_start, initargs=(cfg, tokenizer, folder))
    waiting: deque[ShardInfo | Future[ShardInfo]] = deque()
    try:
        for block in blocks:
            waiting.append(read_shard_info(folder, block.number) or pool.submit(_work, block))
            if len(waiting) > _BLOCKS_EACH * processes:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(found: ShardInfo | Future[ShardInfo]) -> ShardInfo:
    if isinstance(found, ShardInfo):
        return found
    try:
        return found.result()
    except BrokenProcessPool:
        fix = "the memory may not suffice: set `dataset_num_proc` lower; what is done is kept, run it again to go on"
        raise WorkerKilledError("a worker process was killed", where="preparation", fix=fix) from None


@dataclass(slots=True)
class _Worker:
    """What a worker process keeps between blocks."""

    cfg: SftConfig | None = None
    pipeline: Pipeline | None = None
    folder: Path | None = None


_WORKER = _Worker()


def _start(cfg: SftConfig, tokenizer: TextTokenizer, folder: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread_each()
    tokenizer.encoder.threads = 1
    _WORKER.cfg, _WORKER.pipeline, _WORKER.folder = cfg, Pipeline(cfg, tokenizer), folder


def _end_with_parent() -> None:
    """A worker whose reader was killed would wait for blocks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(block: Block) -> ShardInfo:
    assert _WORKER.cfg is not None
    assert _WORKER.pipeline is not None
    assert _WORKER.folder is not None
    return make_shard(_WORKER.cfg, _WORKER.pipeline, block, _WORKER.folder)
