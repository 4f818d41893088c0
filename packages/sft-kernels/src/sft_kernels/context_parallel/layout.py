"""Which rank has which tokens of a packed row.

A row is cut into chunks of equal size (to a token), whatever documents lie there, and each chunk belongs to a rank.
With `zigzag` a rank has one chunk from the front and one from the back. What a causal query has to look at grows along
a document, so that two such chunks are as much work as any other two. One long document, four ranks; the work is in
pairs of query and key, each half a chunk by half a chunk::

    chunk   0   1   2   3   4   5   6   7
    rank    0   1   2   3   3   2   1   0
    work    1   3   5   7   9  11  13  15       rank 0: 1 + 15, rank 1: 3 + 13, rank 2: 5 + 11, rank 3: 7 + 9

Short documents need no such care, since each lies within a chunk or two, and all chunks have as many tokens::

    documents   a a a b b c c c c c c c c c c d
    chunk       0   |1  |2  |3  |4  |5  |6  |7          a chunk's own documents need no other rank;
                a a  a b b c c c c c c c c c c d        of two different chunks only one document can be in both

Cutting each document into twice as many chunks as there are ranks would balance as well, and would cut all of them:
every key would travel, and documents would have to be filled up. Here only what lies on both sides of a cut does.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sft_kernels.packing import validate_cu_seqlens

__all__ = ["ContextLayout", "contiguous", "zigzag"]


@dataclass(frozen=True, slots=True)
class ContextLayout:
    """Documents and chunks of one packed row; it holds no tensors, and is the same on all ranks.

    Attributes:
        documents: boundaries of the documents, as in ``cu_seqlens``: N + 1 ints from 0 to the number of tokens.
        cuts: boundaries of the chunks, from 0 to the number of tokens.
        owners: the rank of each chunk.
        ranks: how many there are.
    """

    documents: tuple[int, ...]
    cuts: tuple[int, ...]
    owners: tuple[int, ...]
    ranks: int

    @property
    def total(self) -> int:
        """Tokens of the row."""
        return self.documents[-1]

    def chunks(self, rank: int) -> list[int]:
        """The chunks of a rank, in the order in which it holds them."""
        return [chunk for chunk, owner in enumerate(self.owners) if owner == rank]

    def spans(self, rank: int) -> list[tuple[int, int]]:
        """Tokens of a rank, begin and end of each of its chunks in the row."""
        return [(self.cuts[chunk], self.cuts[chunk + 1]) for chunk in self.chunks(rank)]

    def count(self, rank: int) -> int:
        """How many tokens a rank has."""
        return sum(end - begin for begin, end in self.spans(rank))

    def local(self, rank: int, token: int) -> int:
        """Where a rank holds a token of the row, which is one of its own."""
        before = 0
        for begin, end in self.spans(rank):
            if begin <= token < end:
                return before + token - begin
            before += end - begin
        raise ValueError(f"token {token} does not belong to rank {rank}, which has {self.spans(rank)}")

    def document(self, token: int) -> tuple[int, int]:
        """Begin and end of the document that a token of the row belongs to."""
        place = bisect_right(self.documents, token)
        return self.documents[place - 1], self.documents[place]

    def segments(self, rank: int) -> list[int]:
        """Lengths of the pieces of documents that a rank holds, in its order; they add up to its tokens."""
        lengths: list[int] = []
        for begin, end in self.spans(rank):
            inside = [each for each in self.documents if begin < each < end]
            lengths += [right - left for left, right in pairwise([begin, *dict.fromkeys(inside), end])]
        return lengths


def zigzag(cu_seqlens: Tensor | Sequence[int], ranks: int) -> ContextLayout:
    """Two chunks for each rank, one from either end: as much causal attention for each; see above.

    Host sync: boundaries on a device are copied. Make it once per batch, where they are on the host anyway.

    Args:
        cu_seqlens: int32 ``[N + 1]`` or as many ints, of the whole row.
        ranks: of the group that shares the row.

    Raises:
        ValueError: boundaries that are none, or no ranks.
    """
    return _layout(cu_seqlens, ranks, [*range(ranks), *reversed(range(ranks))])


def contiguous(cu_seqlens: Tensor | Sequence[int], ranks: int) -> ContextLayout:
    """One chunk for each rank, in the ranks' order; arguments and errors as for `zigzag`."""
    return _layout(cu_seqlens, ranks, list(range(ranks)))


def _layout(cu_seqlens: Tensor | Sequence[int], ranks: int, owners: list[int]) -> ContextLayout:
    if ranks < 1:
        raise ValueError(f"ranks is {ranks}; a row is shared by one rank at least")
    if isinstance(cu_seqlens, Tensor):
        validate_cu_seqlens(cu_seqlens)
        ends = tuple(cu_seqlens.tolist())
    else:
        ends = tuple(cu_seqlens)
        if not ends or ends[0] != 0 or any(right < left for left, right in pairwise(ends)):
            raise ValueError(f"cu_seqlens is {list(ends)[:8]}; boundaries begin with 0 and never decrease")
    cuts = tuple(ends[-1] * chunk // len(owners) for chunk in range(len(owners) + 1))
    return ContextLayout(ends, cuts, tuple(owners), ranks)
