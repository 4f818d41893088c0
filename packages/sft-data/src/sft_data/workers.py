"""Blocks to shards, in this process or in several, of this machine or of a Ray cluster.

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
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol

from sft_data.block import Block
from sft_data.env import cores, one_thread_each
from sft_data.pipeline import Pipeline
from sft_data.ray_workers import WorkerError, ray_workers
from sft_data.store import ShardInfo, read_shard_info
from sft_data.tokenizer import TextTokenizer
from sft_data.work import make_shard
from sft_schema import SftConfig

_MOST_PROCESSES = 16
_FEW_CHARACTERS = 1 << 23
"""As many take about as long to encode as it takes to start processes, or to prove a faster engine."""
_BLOCKS_EACH = 2
"""Blocks that wait for a worker, or for their turn to be counted: what bounds the memory of the reader."""

Engine = Literal["local", "ray"]
Waiting = Callable[[], ShardInfo]


class Workers(Protocol):
    """Processes that make shards of blocks."""

    @property
    def processes(self) -> int:
        """How many blocks are worked on at a time."""
        ...

    def submit(self, block: Block) -> Waiting:
        """Begins to work on a block; what it returns waits for the shard."""
        ...


def make_shards(
    cfg: SftConfig, pipeline: Pipeline, blocks: Iterator[Block], folder: Path, engine: Engine = "local"
) -> Generator[ShardInfo]:
    """The shards of all blocks in the order of their numbers; those that are there already are not made again.

    Args:
        cfg: `dataset_num_proc` says how many processes; without it one for each core, or this one alone for data that
            are done before the others would have started.
        pipeline: the config's arrows, for the work of this process.
        blocks: in order.
        folder: of the shards.
        engine: whose processes.

    Raises:
        DataError: see `prepare`; or a worker was killed.
    """
    first = _first(blocks, _FEW_CHARACTERS)
    blocks = chain(first, blocks)
    many = sum(block.characters for block in first) >= _FEW_CHARACTERS
    pipeline.tokenizer.encoder.settle(worth_it=many)
    processes = cfg.dataset_num_proc or (min(cores(), _MOST_PROCESSES) if many else 1)
    if engine == "ray":
        with ray_workers(cfg, pipeline.tokenizer, folder) as workers:
            yield from _in_order(workers, blocks, folder)
    elif processes == 1:
        for block in blocks:
            yield read_shard_info(folder, block.number) or make_shard(cfg, pipeline, block, folder)
    else:
        with _spawned(cfg, pipeline.tokenizer, folder, processes) as workers:
            yield from _in_order(workers, blocks, folder)


def _first(blocks: Iterator[Block], characters: int) -> list[Block]:
    """So many blocks that they hold so many characters, or all there are."""
    first: list[Block] = []
    while sum(block.characters for block in first) < characters and (block := next(blocks, None)):
        first.append(block)
    return first


def _in_order(workers: Workers, blocks: Iterator[Block], folder: Path) -> Iterator[ShardInfo]:
    waiting: deque[Waiting] = deque()
    for block in blocks:
        done = read_shard_info(folder, block.number)
        waiting.append(workers.submit(block) if done is None else partial(_found, done))
        if len(waiting) > _BLOCKS_EACH * workers.processes:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _found(shard: ShardInfo) -> ShardInfo:
    return shard


@contextmanager
def _spawned(cfg: SftConfig, tokenizer: TextTokenizer, folder: Path, processes: int) -> Generator[Workers]:
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of running threads
    pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_start, initargs=(cfg, tokenizer, folder))
    try:
        yield _Spawned(pool, processes)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Spawned:
    pool: ProcessPoolExecutor
    processes: int

    def submit(self, block: Block) -> Waiting:
        return partial(_result, self.pool.submit(_work, block))


def _result(future: Future[ShardInfo]) -> ShardInfo:
    try:
        return future.result()
    except BrokenProcessPool:
        fix = "the memory may not suffice: set `dataset_num_proc` lower; what is done is kept, run it again to go on"
        raise WorkerError("a worker process was killed", where="preparation", fix=fix) from None


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
