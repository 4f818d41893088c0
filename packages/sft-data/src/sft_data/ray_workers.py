# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the libraries used here ship no complete types)
"""Blocks to shards by the workers of a Ray cluster (https://docs.ray.io), on a disk that all of them share.

A block is a task of Ray's. Ray Data would cut the rows into blocks of its own, so that the files would depend on the
cluster. A task whose worker is killed is done again by another one: it writes the same file under the same name.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sft_data.block import Block
from sft_data.env import one_thread_each, quiet_ray
from sft_data.optional import load_ray
from sft_data.pipeline import Pipeline
from sft_data.store import ShardInfo, shard_name
from sft_data.tokenizer import TextTokenizer
from sft_data.versions import function_digests, versions
from sft_data.work import make_shard
from sft_schema import DataError, SftConfig, SftError

_TRIES = 4
"""At a task, when its worker is killed again and again: by a row that takes all memory, say."""
_SECONDS_TO_END = 60.0
_SECONDS_TO_ANSWER = 30.0
_SHARE = "run it in, and set `dataset_prepared_path` to, folders that all machines of the cluster share"


class WorkerError(DataError):
    """Work that was not done, through no fault of the data; the shards that are done can be gone on from."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What a worker process needs, and what must be there as it is here.

    Attributes:
        cfg: the config.
        tokenizer: with its encoder settled.
        folder: of the shards, absolute.
        place: the working folder, which relative paths in the config start from.
        path: where modules are looked for.
        versions: of packages, and digests of custom formats.
    """

    cfg: SftConfig
    tokenizer: TextTokenizer
    folder: Path
    place: str
    path: tuple[str, ...]
    versions: dict[str, str]


@contextmanager
def ray_workers(cfg: SftConfig, tokenizer: TextTokenizer, folder: Path) -> Generator[RayWorkers]:
    """The workers of the cluster that RAY_ADDRESS names, or of one on this machine that ends with the work.

    A cluster that this process has joined before is used, and left as it is.

    Args:
        cfg: `dataset_num_proc` says how many blocks are worked on at a time; without it one for each of the cluster's
            cores.
        tokenizer: with its encoder settled.
        folder: of the shards; all machines of the cluster have it under this path.

    Raises:
        DataError: Ray is not installed, or the cluster cannot be reached.
    """
    address = quiet_ray()
    ray = load_ray()
    own = not ray.is_initialized()
    if own:
        _connect(ray, address, cfg.dataset_num_proc)
    try:
        processes = cfg.dataset_num_proc or int(ray.cluster_resources().get("CPU", 1))
        made_by = versions() | function_digests(cfg)
        given = _Given(cfg, tokenizer, folder.resolve(), str(Path.cwd()), tuple(sys.path), made_by)
        task = ray.remote(max_retries=_TRIES - 1, num_cpus=1)(_work)
        workers = RayWorkers(ray, partial(task.remote, [ray.put(given)]), given.folder, processes)
        try:
            yield workers
        finally:
            workers.end()
    finally:
        if own:
            ray.shutdown()


def _connect(ray: Any, address: str | None, processes: int | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            _knock(address)
            ray.init(address=address, **quiet)
        else:  # `local`: never a cluster that happens to run here
            ray.init(address="local", num_cpus=processes, include_dashboard=False, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        fix = (
            "start it with `ray start --head`, or unset RAY_ADDRESS to use this machine alone; "
            "to one that wants a token, also set RAY_AUTH_MODE=token"
        )
        raise DataError(f"cannot be reached: {error}", where=f"Ray cluster {address or 'local'}", fix=fix) from None


def _knock(address: str) -> None:
    """Raises OSError for an address where nobody listens: Ray itself tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()


@dataclass(frozen=True, slots=True)
class RayWorkers:
    """See `ray_workers`; a `Workers`."""

    ray: Any
    task: Callable[[Block], Any]
    folder: Path
    processes: int
    waiting: set[Any] = field(default_factory=set[Any])

    def submit(self, block: Block) -> Callable[[], ShardInfo]:
        """Begins to work on a block; what it returns waits for the shard."""
        reference = self.task(block)
        self.waiting.add(reference)
        return partial(self._result, reference)

    def _result(self, reference: Any) -> ShardInfo:
        errors = self.ray.exceptions
        try:
            shard: ShardInfo = self.ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, SftError):
                raise error.cause from None  # what the arrows raised, as without Ray
            raise
        except errors.RayError as error:
            fix = (
                "the memory may not suffice: set `dataset_num_proc` lower; what is done is kept: run it again to go on"
            )
            message = f"a block was lost with its workers, tried {_TRIES} times: {type(error).__name__}"
            raise WorkerError(message, where="Ray", fix=fix) from None
        finally:
            self.waiting.discard(reference)
        file = self.folder / shard_name(shard.number)
        if not file.is_file():
            raise WorkerError("was written on another machine's disk", where=str(file), fix=_SHARE)
        return shard

    def end(self) -> None:
        """Waits until no worker writes any more; after an error their blocks are given up."""
        for reference in self.waiting:
            self.ray.cancel(reference)
        if self.waiting:
            self.ray.wait(list(self.waiting), num_returns=len(self.waiting), timeout=_SECONDS_TO_END)


_KEPT: dict[str, tuple[_Given, Pipeline]] = {}
"""What a worker process keeps between blocks, by the name of what it was given; of the last preparation only."""


def _work(given: list[Any], block: Block) -> ShardInfo:
    """In a worker. In a list the reference comes as it is: its content, the tokenizer, is read once a process."""
    (reference,) = given
    name = reference.hex()
    if name not in _KEPT:
        _KEPT.clear()
        _KEPT[name] = _begin(load_ray().get(reference))
    kept, pipeline = _KEPT[name]
    return make_shard(kept.cfg, pipeline, block, kept.folder)


def _begin(given: _Given) -> tuple[_Given, Pipeline]:
    """Makes this process like the one that reads the rows, or refuses to work on a machine that is not like it."""
    one_thread_each()
    for folder in (given.folder, given.place):
        if not Path(folder).is_dir():
            raise _unlike(f"there is no folder {folder}", _SHARE)
    os.chdir(given.place)
    sys.path.extend(each for each in given.path if each not in sys.path)
    here = versions() | function_digests(given.cfg)
    for name, wanted in given.versions.items():
        if here[name] != wanted:
            raise _unlike(f"{name} is {here[name]} there, and {wanted} here", "install the same on all machines")
    given.tokenizer.encoder.threads = 1
    return given, Pipeline(given.cfg, given.tokenizer)


def _unlike(message: str, fix: str) -> WorkerError:
    return WorkerError(message, where=f"Ray worker on {os.uname().nodename}", fix=fix)
