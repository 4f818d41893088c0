"""A vocabulary that is split over processes: each has a part of the head's weights, and all have the tokens.

Statistics of a row are sums over the vocabulary, so those of the parts add up (as in Megatron-LM's parallel cross
entropy, arXiv:1909.08053, section 3). One gather of ``[4, N]`` numbers makes them the same in every process, in the
order of ranks. In the backward pass each process has its part's gradients, and the tokens' are added up.
"""

from typing import NamedTuple

import torch
from torch import Tensor, distributed

from sft_kernels.ops.cross_entropy.statistics import ELSEWHERE, IGNORED

__all__ = ["VocabShard", "combined", "shard_of"]


class VocabShard(NamedTuple):
    """The part of the vocabulary whose weights this process has.

    Attributes:
        start: the id of its first row.
        vocabulary: how many ids all processes have together.
        group: the processes; None is all.
    """

    start: int
    vocabulary: int
    group: "distributed.ProcessGroup | None" = None


def shard_of(vocabulary: int, group: "distributed.ProcessGroup | None" = None) -> tuple[VocabShard, int]:
    """The shard of this process where parts are as equal as can be, and how many rows it has."""
    rank, size = distributed.get_rank(group), distributed.get_world_size(group)
    start, stop = (each * vocabulary // size for each in (rank, rank + 1))
    return VocabShard(start, vocabulary, group), stop - start


def combined(statistics: Tensor, target: Tensor, shard: VocabShard) -> Tensor:
    """Statistics ``[4, N]`` over the whole vocabulary from those of this process's part, the same in all processes."""
    logprob, lse, total, entropy = statistics.unbind()
    chosen = torch.where(target == ELSEWHERE, 0.0, logprob + lse)
    mine = torch.stack((chosen, lse, total, entropy))
    parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size(shard.group))]
    distributed.all_gather(parts, mine, group=shard.group)
    chosen, lse, total, entropy = torch.stack(parts, 1).unbind()
    top = lse.amax(0)
    shares = (lse - top).exp()
    log_sum = shares.sum(0).log()
    spread = log_sum + (shares * (entropy - (lse - top))).sum(0) / shares.sum(0)
    whole = torch.stack((chosen.sum(0) - top - log_sum, top + log_sum, total.sum(0), spread))
    return torch.where(target == IGNORED, 0.0, whole)
