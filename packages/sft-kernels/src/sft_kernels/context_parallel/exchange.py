"""Messages between ranks of a group."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Swap", "rank_in", "tokens_for_heads"]


def rank_in(group: dist.ProcessGroup, ranks: int) -> int:
    """This process's rank in the group that a layout is for.

    Raises:
        ValueError: the group has another size, or this process is not in it.
    """
    if dist.get_world_size(group) != ranks:
        raise ValueError(
            f"the layout is for {ranks} ranks and the group has {dist.get_world_size(group)}; make the layout with "
            "torch.distributed.get_world_size(group)"
        )
    return dist.get_rank(group)


class Swap:
    """One tensor goes to a rank while another comes from a rank; empty ones are not sent.

    It begins at once, and `wait` gives what has come. Both ranks of a message know its size beforehand.

    Args:
        sent: contiguous ``[n]``.
        to: rank within the group.
        received: contiguous ``[m]``, is overwritten.
        source: rank within the group.
        group: of both.
    """

    def __init__(self, sent: Tensor, to: int, received: Tensor, source: int, group: dist.ProcessGroup) -> None:
        self._sent, self._received = sent, received  # kept until the message has gone
        messages = []
        if sent.numel():
            messages.append(dist.P2POp(dist.isend, sent, group=group, group_peer=to))
        if received.numel():
            messages.append(dist.P2POp(dist.irecv, received, group=group, group_peer=source))
        self._works = dist.batch_isend_irecv(messages) if messages else []

    def wait(self) -> Tensor:
        """What has come, ``[m]``."""
        for work in self._works:
            work.wait()
        return self._received


def tokens_for_heads(x: Tensor, counts: list[int], group: dist.ProcessGroup, *, back: bool = False) -> Tensor:
    """Trades tokens for heads, differentiably: ``[t, H, D]`` to ``[T, H / P, D]``, or back.

    Rank r gets heads ``r * H / P`` to ``(r + 1) * H / P`` of all tokens, in the ranks' order.

    Args:
        x: this rank's tokens with all heads; with `back` all tokens with this rank's heads.
        counts: tokens of each rank, which add up to T.
        group: of P ranks, where P divides H.
        back: the other way.
    """
    return _AllToAll.apply(x, counts, group, back)


class _AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int], group: dist.ProcessGroup, back: bool) -> Tensor:
        ctx.how = counts, group, back
        return _merge_heads(x, counts, group) if back else _part_heads(x, counts, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        counts, group, back = ctx.how
        grad = _part_heads(grad, counts, group) if back else _merge_heads(grad, counts, group)
        return grad, None, None, None


def _part_heads(x: Tensor, counts: list[int], group: dist.ProcessGroup) -> Tensor:
    ranks, (tokens, heads, width) = len(counts), x.shape
    parts = x.unflatten(1, (ranks, heads // ranks)).transpose(0, 1).contiguous()
    whole = x.new_empty(sum(counts), heads // ranks, width)
    dist.all_to_all_single(whole, parts.flatten(0, 1), counts, [tokens] * ranks, group=group)
    return whole


def _merge_heads(x: Tensor, counts: list[int], group: dist.ProcessGroup) -> Tensor:
    ranks, tokens = len(counts), counts[dist.get_rank(group)]
    parts = x.new_empty(ranks * tokens, *x.shape[1:])
    dist.all_to_all_single(parts, x.contiguous(), [tokens] * ranks, counts, group=group)
    return parts.unflatten(0, (ranks, tokens)).transpose(0, 1).flatten(1, 2)
