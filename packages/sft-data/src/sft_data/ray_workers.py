# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the libraries used here ship no complete types)
"""Blocks to shards by the workers of a Ray cluster (https://docs.ray.io), on a disk that all of them share.

A block is a task of Ray's. Ray Data would cut the rows into blocks of its own, so that the files would depend on the
cluster. A task whose worker is killed is done again by another one: it writes the same file under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sft_data.block import Block
from sft_data.env import one_thread_each, quiet_ray
from sft_data.optional import load_ray
from sft_data.pipeline import Pipeline
from sft_data.store import ShardInfo, shard_name
from sft_data.tokenizer import TextTokenizer
from sft_data.work import make_shard
from sft_schema import DataError, SftConfig

_TRIES = 4
"""Of a task, when its worker is killed again and again: by a row that takes all memory, say."""


class WorkerKilledError(DataError):
    """A worker process ended by itself; the shards that are done can be gone on from."""


@contextmanager
def ray_workers(cfg: SftConfig, tokenizer: TextTokenizer, folder: Path) -> Iterator[RayWorkers]:
    """The workers of the cluster that RAY_ADDRESS names, or of one on this machine that ends with the work.

    Args:
        cfg: `dataset_num_proc` says how many blocks are worked on at a time; without it one for each of the cluster's
            cores.
        tokenizer: with its encoder settled.
        folder: of the shards; all machines of the cluster have it under this path.

    Raises:
        DataError: Ray is not installed, or the cluster cannot be reached.
    """
    ray, address = load_ray(), quiet_ray()
    own = not ray.is_initialized()
    if own:
        _connect(ray, address, cfg.dataset_num_proc)
    try:
        processes = cfg.dataset_num_proc or int(ray.cluster_resources().get("CPU", 1))
        shared = ray.put((cfg, tokenizer, folder.resolve()))
        task = ray.remote(max_retries=_TRIES - 1, num_cpus=1)(_work)
        yield RayWorkers(ray, partial(task.remote, [shared]), folder, processes)
    finally:
        if own:
            ray.shutdown()


def _connect(ray: Any, address: str | None, processes: int | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:  # of this machine alone: it listens to nobody else
            ray.init(num_cpus=processes, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        fix = "start it with `ray start --head`, or unset RAY_ADDRESS to use this machine alone"
        raise DataError(f"cannot be reached: {error}", where=f"Ray cluster {address or 'local'}", fix=fix) from None


@dataclass(frozen=True, slots=True)
class RayWorkers:
    """See `ray_workers`; a `Workers`."""

    ray: Any
    task: Callable[[Block], Any]
    folder: Path
    processes: int

    def submit(self, block: Block) -> Callable[[], ShardInfo]:
        """Begins to work on a block; what it returns waits for the shard."""
        return partial(self._result, self.task(block))

    def _result(self, reference: Any) -> ShardInfo:
        errors = self.ray.exceptions
        try:
            shard: ShardInfo = self.ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from None  # what the arrows raised, as without Ray
        except errors.RayError as error:
            fix = "what is done is kept: run it again to go on; see Ray's logs, and whether the memory suffices"
            message = f"its workers died {_TRIES} times over one block: {type(error).__name__}"
            raise WorkerKilledError(message, where="Ray", fix=fix) from None
        file = self.folder / shard_name(shard.number)
        if not file.is_file():
            fix = "set `dataset_prepared_path` to a folder on a disk that all machines of the cluster share"
            raise DataError("was written on another machine's disk", where=str(file), fix=fix)
        return shard


_KEPT: dict[str, tuple[SftConfig, Pipeline, Path]] = {}
"""What a worker process keeps between blocks, by the name of what it was given; of the last preparation only."""


def _work(given: list[Any], block: Block) -> ShardInfo:
    """In a worker. In a list the reference comes as it is: its content, the tokenizer, is read once a process."""
    (reference,) = given
    name = reference.hex()
    if name not in _KEPT:
        one_thread_each()
        cfg, tokenizer, folder = load_ray().get(reference)
        tokenizer.encoder.threads = 1
        _KEPT.clear()
        _KEPT[name] = cfg, Pipeline(cfg, tokenizer), folder
    cfg, pipeline, folder = _KEPT[name]
    return make_shard(cfg, pipeline, block, folder)
