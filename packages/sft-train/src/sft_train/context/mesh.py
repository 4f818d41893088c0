"""All processes as a mesh: groups that read rows of their own, and within a group the parts of a row.

8 processes and `context_parallel_size: 4`:

    process     0  1  2  3    4  5  6  7
    data        0  0  0  0    1  1  1  1        reads the rows of one of 2 processes
    rank        0  1  2  3    0  1  2  3        computes the first part of them, ...

Neighbours share a row, since they are the ones that lie on one machine. Weights and gradients know nothing of it: every
process holds the whole model, and gradients are averaged over all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from transformers import TrainingArguments

from sft_kernels.context_parallel import ContextLayout, ContextParallel
from sft_schema import ConfigError, Issue
from sft_schema.config import DeviceSection


@dataclass(frozen=True, slots=True)
class ContextMesh:
    """Where this process stands.

    Attributes:
        data: which share of the rows it reads, counted from 0.
        data_processes: how many shares there are.
        rank: which part of each row it computes, counted from 0.
        size: how many parts a row has.
        method: `ring` or `ulysses`.
        group: the processes that share its rows; None where it has them for itself.
    """

    data: int
    data_processes: int
    rank: int = 0
    size: int = 1
    method: str = "ring"
    group: dist.ProcessGroup | None = None

    def way(self) -> Callable[[ContextLayout], ContextParallel] | None:
        """What makes the way of a batch through attention from the layout of its row; None without sharing."""
        return None if self.group is None else partial(ContextParallel, group=self.group, method=self.method)


def check_context_size(cfg: DeviceSection, processes: int) -> None:
    """Refuses processes that cannot be grouped.

    Raises:
        ConfigError: their number is no multiple of `context_parallel_size`.
    """
    size = cfg.context_parallel_size
    if processes % size == 0:
        return
    message = f"{processes} process{'es' if processes > 1 else ''} cannot share rows in groups of {size}"
    fix = f"start `torchrun --nproc-per-node {size} ...` or a multiple of it, or change `context_parallel_size`"
    raise ConfigError([Issue("context_parallel_processes", ("context_parallel_size",), message, fix)])


def context_mesh(cfg: DeviceSection, args: TrainingArguments) -> ContextMesh:
    """The place of this process. All processes call it, once, when they have joined the process group.

    Args:
        cfg: how many processes share a row, and how. Their number has passed `check_context_size`.
        args: number of this process and of all.
    """
    size = cfg.context_parallel_size
    if size == 1:
        return ContextMesh(args.process_index, args.world_size)
    shape = args.world_size // size, size
    group = init_device_mesh(args.device.type, shape, mesh_dim_names=("data", "context"))["context"].get_group()
    # NCCL connects a group when all of it takes part in something; later messages are between some of it.
    dist.all_reduce(torch.zeros(1, device=args.device), group=group)
    data, rank = divmod(args.process_index, size)
    return ContextMesh(data, shape[0], rank, size, cfg.context_parallel_method, group)
