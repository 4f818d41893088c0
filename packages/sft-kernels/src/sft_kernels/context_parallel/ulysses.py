"""Attention over a row that ranks share: each rank gets all tokens for some of the heads.

Jacobs et al., "DeepSpeed Ulysses" (arXiv:2309.14509). Four ranks, eight heads::

    rank    tokens x heads                     tokens x heads
    0       0..T/4       x 0..7      ->        0..T x 0, 1          attention over whole documents, and back
    1       T/4..T/2     x 0..7                0..T x 2, 3

Heads have no part in one another, so any implementation of attention does, and what is computed is what one process
would compute. Heads must divide among the ranks.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from sft_kernels.attention import flash_attn_varlen_func
from sft_kernels.context_parallel.exchange import rank_in, tokens_for_heads
from sft_kernels.context_parallel.layout import ContextLayout
from sft_kernels.context_parallel.ring import check_tokens

__all__ = ["check_heads", "ulysses_varlen"]


def ulysses_varlen(  # noqa: PLR0913
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: ContextLayout,
    group: dist.ProcessGroup,
    *,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    deterministic: bool = False,
    sinks: Tensor | None = None,
    backend: str | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Attention within each document of a row whose tokens lie on several ranks. All ranks of the group call it.

    Where there are fewer key heads than ranks, each is sent to several ranks, and its gradient is their sum.

    Args:
        q: floats ``[t, H, D]``, this rank's tokens. The group's P ranks divide H.
        k: ``[t, K, D]``, where K divides H; P divides K, or K divides P.
        v: ``[t, K, Dv]``.
        layout: of the whole row, made by `contiguous`.
        group: ranks that share the row, as many as the layout has.
        softmax_scale: as for `flash_attn_varlen_func`, and so are `causal`, `window_size`, `softcap`,
            `deterministic` and `backend`.
        sinks: floats ``[H]``, the same on all ranks. Its gradient is this rank's part: the sum over ranks is the
            whole one, as for any other weight.
        cu_seqlens: boundaries of the whole row on the device of `q`, int32 ``[N + 1]``; by default they are copied
            there from the layout.

    Returns:
        ``[t, H, Dv]`` in the dtype of `q`.

    Raises:
        ValueError: heads that do not divide, a layout with several chunks per rank, tensors that are not this
            rank's tokens, or a group that is not the layout's.
    """
    ranks = layout.ranks
    rank = rank_in(group, ranks)
    check_tokens(layout.count(rank), rank, q, k, v)
    check_heads(q.shape[1], k.shape[1], ranks)
    if layout.owners != tuple(range(ranks)):
        raise ValueError(f"ulysses_varlen has a layout of chunks {list(layout.owners)}; make it with `contiguous`")
    if cu_seqlens is None:
        cu_seqlens = torch.tensor(layout.documents, dtype=torch.int32, device=q.device)
    longest = max((b - a for a, b in zip(layout.documents, layout.documents[1:], strict=False)), default=0)
    copies = max(1, ranks // k.shape[1])
    k, v = (x.repeat_interleave(copies, dim=1) if copies > 1 else x for x in (k, v))
    counts = [layout.count(each) for each in range(ranks)]
    q, k, v = (tokens_for_heads(x, counts, group) for x in (q, k, v))
    heads = q.shape[1]
    out = flash_attn_varlen_func(
        q, k, v, cu_seqlens, cu_seqlens, longest, longest, softmax_scale=softmax_scale, causal=causal,
        window_size=window_size, softcap=softcap, deterministic=deterministic,
        sinks=None if sinks is None else sinks[rank * heads : (rank + 1) * heads], backend=backend,
    )  # fmt: skip
    return tokens_for_heads(out, counts, group, back=True)


def check_heads(heads: int, kv_heads: int, ranks: int) -> None:
    """Refuses numbers of heads that cannot be shared out evenly.

    Raises:
        ValueError: with the number that does not divide.
    """
    fix = "take as many ranks as divide both, or ring_varlen, which takes any"
    if heads % ranks:
        raise ValueError(f"{heads} query heads do not divide among {ranks} ranks; {fix}")
    if kv_heads % ranks and ranks % kv_heads:
        raise ValueError(
            f"{kv_heads} key heads neither divide among {ranks} ranks nor can each go to as many of them; {fix}"
        )
