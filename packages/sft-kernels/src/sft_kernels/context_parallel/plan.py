"""What a rank of the ring does: which keys it gets from whom, and which blocks of scores it computes.

A block is a chunk's queries beside another chunk's keys. Chunks do not overlap, so that a block holds one document at
most, the one that lies in both, and one window. Queries and keys that the window keeps apart are left out::

    document      ... k k k k | ... | q q q q ...       chunk of keys, others between, chunk of queries
    window of 7       . . k k         q q . .           what is left of the block

A kernel aligns a block at its bottom right: its last query stands at its last key. In the document it stands
``shift = end of queries - end of keys`` further on, so a window of `left` tokens is one of ``left - shift`` there.
"""

from dataclasses import dataclass
from typing import NamedTuple

from sft_kernels.context_parallel.layout import ContextLayout

__all__ = ["Block", "RingPlan", "Step", "plan_ring"]

Span = tuple[int, int]


class Block(NamedTuple):
    """Scores of some queries and some keys; `seen_left` and `seen_right` are the window as a kernel takes it."""

    queries: slice
    """Rows of this rank's own queries."""
    keys: slice
    """Rows of the keys at hand: this rank's own, or those received."""
    seen_left: int
    seen_right: int


class Step(NamedTuple):
    """An exchange of keys and values, and what is computed with those that come."""

    to: int
    source: int
    send: tuple[slice, ...]
    """Rows of this rank's own keys that `to` needs."""
    received: int
    """Rows that come from `source`."""
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class RingPlan:
    """All that a rank does in attention, the same in each layer with this window.

    Attributes:
        segments: lengths of the pieces of documents in this rank's own tokens, for the blocks on the diagonal.
        own: further blocks of its own queries and keys.
        steps: one for each other rank, nearest first.
    """

    segments: tuple[int, ...]
    own: tuple[Block, ...]
    steps: tuple[Step, ...]


def plan_ring(layout: ContextLayout, rank: int, left: int, right: int) -> RingPlan:
    """The plan of a rank, for a window of `left` and `right` tokens, -1 for all and `right` = 0 for causal.

    In step s a rank sends to the one s places on and receives from the one s places back.
    """
    steps = []
    for distance in range(1, layout.ranks):
        to, source = (rank + distance) % layout.ranks, (rank - distance) % layout.ranks
        sent = _pieces(layout, to, rank, left, right)
        send = tuple(_rows(layout, rank, span) for span in sent.values())
        came = _pieces(layout, rank, source, left, right)
        blocks = _blocks_on(layout, rank, source, came, left, right)
        steps.append(Step(to, source, send, sum(end - begin for begin, end in came.values()), blocks))
    own = []
    for i in layout.chunks(rank):
        for j in layout.chunks(rank):
            found = _block(layout, i, j, left, right)
            if found:
                queries, keys, *window = found
                own.append(Block(_rows(layout, rank, queries), _rows(layout, rank, keys), *window))
    return RingPlan(tuple(layout.segments(rank)), tuple(own), tuple(steps))


def _blocks_on(
    layout: ContextLayout, rank: int, source: int, pieces: dict[int, Span], left: int, right: int
) -> tuple[Block, ...]:
    """Blocks of a rank's queries and the keys that it has from `source`, which lie end to end."""
    blocks, before = [], 0
    for j, (begin, end) in pieces.items():
        for i in layout.chunks(rank):
            found = _block(layout, i, j, left, right)
            if found:
                queries, keys, *window = found
                rows = slice(before + keys[0] - begin, before + keys[1] - begin)
                blocks.append(Block(_rows(layout, rank, queries), rows, *window))
        before += end - begin
    return tuple(blocks)


def _pieces(layout: ContextLayout, receiver: int, sender: int, left: int, right: int) -> dict[int, Span]:
    """By chunk of the sender, the tokens of it that queries of the receiver look at."""
    pieces: dict[int, Span] = {}
    for j in layout.chunks(sender):
        found = [_block(layout, i, j, left, right) for i in layout.chunks(receiver)]
        keys = [block[1] for block in found if block]
        if keys:
            pieces[j] = min(begin for begin, _ in keys), max(end for _, end in keys)
    return pieces


def _block(layout: ContextLayout, i: int, j: int, left: int, right: int) -> tuple[Span, Span, int, int] | None:
    """Queries of chunk i, keys of chunk j, both in tokens of the row, and the window as a kernel takes it."""
    (q0, q1), (k0, k1) = layout.cuts[i : i + 2], layout.cuts[j : j + 2]
    if i == j or (i < j and right == 0) or q0 == q1 or k0 == k1:
        return None
    # the document in both chunks is the one at the ends that face each other
    begin, end = layout.document(k1 - 1 if i > j else k0)
    q0, q1, k0, k1 = max(q0, begin), min(q1, end), max(k0, begin), min(k1, end)
    if i > j and left >= 0:
        k0, q1 = max(k0, q0 - left), min(q1, k1 + left)
    elif i < j and right >= 0:
        q0, k1 = max(q0, k0 - right), min(k1, q1 + right)
    if q0 >= q1 or k0 >= k1:
        return None
    shift = q1 - k1
    if i > j:
        return (q0, q1), (k0, k1), left - shift if left >= 0 else -1, -1
    return (q0, q1), (k0, k1), -1, right + shift if right >= 0 else -1


def _rows(layout: ContextLayout, rank: int, span: Span) -> slice:
    """Rows of a rank's own tensors with these tokens of the row, which lie in one chunk."""
    first = layout.local(rank, span[0])
    return slice(first, first + span[1] - span[0])
