"""Packing that cuts samples: a plan of pieces.

    wrapped      joined end to end and cut where a row is full          a a a a a b b b | b c c c
    bfd_split    cut where they are longer than a row, pieces packed    a a a a a a a a | a a c c c

The first token of a piece that begins inside a sample has lost what comes before it, so nothing predicts it: its
label is ignored, as that of any first token. A plan says how many such pieces there are, `lost_labels` how many of
their labels were trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sft_data.pack.placement import Ints, counted
from sft_schema import IGNORE_INDEX
from sft_schema.record import PackPlan, TokenizedSample


def wrapped(lengths: Ints, order: Ints, sequence_len: int) -> PackPlan:
    """All samples joined in an order and cut into rows of `sequence_len` tokens; the last one may be shorter.

    Rows are as few as can be, whatever the order. The way of GPT-3 and of many after it; what it costs is measured
    by Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830).

    Args:
        lengths: int64 `[n]`: tokens of each sample, at least 1.
        order: int64 `[n]`: indices of the samples as they are joined.
        sequence_len: tokens that a row holds.
    """
    ends = np.cumsum(lengths[order])
    begins, total = ends - lengths[order], int(lengths.sum())
    borders = np.arange(0, total, sequence_len)
    first = np.searchsorted(begins, borders)
    inside = np.append(begins, total)[first] != borders  # rows that begin inside a sample
    at = first[inside] + np.arange(int(inside.sum()))
    begun = np.ones(len(begins) + len(at), dtype=bool)  # pieces that begin a sample; the others begin a row
    begun[at] = False
    cuts = np.empty(len(begun), dtype=np.int64)  # where a piece begins, counted in tokens of the whole
    cuts[begun], cuts[at] = begins, borders[inside]
    place = np.cumsum(begun) - 1
    start = cuts - begins[place]
    stop = np.append(cuts, total)[1:] - begins[place]
    pieces = np.column_stack([order[place], start, stop]).astype(np.int64)
    offsets = np.append(np.searchsorted(cuts, borders), len(cuts)).astype(np.int64)
    return PackPlan(pieces[:, 0], offsets, total, sequence_len, pieces)


def split(lengths: Ints, sequence_len: int) -> Ints:
    """Pieces of at most `sequence_len` tokens: int64 `[m, 3]`, each a sample, its first token and one past its last.

    Args:
        lengths: int64 `[n]`: tokens of each sample, at least 1.
        sequence_len: tokens that a row holds.
    """
    count = -(-lengths // sequence_len)
    sample = np.repeat(np.arange(len(lengths), dtype=np.int64), count)
    start = counted(np.zeros_like(count), count) * sequence_len
    return np.column_stack([sample, start, np.minimum(start + sequence_len, lengths[sample])])


def lost_labels(samples: Sequence[TokenizedSample], plan: PackPlan) -> int:
    """Trained tokens of an epoch that are not trained because a piece begins with them.

    Args:
        samples: all samples, such as a SampleStore.
        plan: the epoch's rows.
    """
    if plan.pieces is None:
        return 0
    inside = plan.pieces[plan.pieces[:, 1] > 0, :2].tolist()
    return sum(int(samples[int(sample)].labels[int(start)]) != IGNORE_INDEX for sample, start in inside)
