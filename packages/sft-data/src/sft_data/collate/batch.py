"""Padding-free rows and batches.

two rows of a batch      [a a a b b] [c c c c]
the batch                 a a a b b   c c c c       [1, 9]
position_ids              0 1 2 0 1   0 1 2 3
cu_seqlens                0     3   5         9
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft_schema import IGNORE_INDEX
from sft_schema.record import PackedBatch, PackedRow, TokenizedSample


def pack_row(samples: Sequence[TokenizedSample], indices: NDArray[np.int64]) -> PackedRow:
    """One row of several samples.

    Args:
        samples: all samples, such as a SampleStore.
        indices: int64 `[k]`, the samples of this row, in order; or their pieces, int64 `[k, 3]`: sample, first
            token, one past the last.
    """
    chosen = [_piece(samples, *np.atleast_1d(each).tolist()) for each in indices]
    cu_seqlens = np.cumsum([0, *(len(sample.input_ids) for sample in chosen)], dtype=np.int32)
    labels = np.concatenate([sample.labels for sample in chosen])
    labels[cu_seqlens[:-1]] = IGNORE_INDEX  # nothing before a sample's first token may predict it
    weights = _joined([sample.weights for sample in chosen], [sample.labels for sample in chosen])
    if weights is not None:
        weights[cu_seqlens[:-1]] = 0
    return PackedRow(
        np.concatenate([sample.input_ids for sample in chosen]),
        labels,
        cu_seqlens,
        indices.reshape(len(indices), -1)[:, 0],
        weights,
    )


def _piece(samples: Sequence[TokenizedSample], sample: int, start: int = 0, stop: int | None = None) -> TokenizedSample:
    whole = samples[sample]
    weights = None if whole.weights is None else whole.weights[start:stop]
    return TokenizedSample(whole.input_ids[start:stop], whole.labels[start:stop], whole.origin, weights)


def _joined(
    weights: Sequence[NDArray[np.float32] | None], labels: Sequence[NDArray[np.signedinteger[Any]]]
) -> NDArray[np.float32] | None:
    """All weights, with 1 for the trained tokens of what has none; None when nothing has any."""
    if all(each is None for each in weights):
        return None
    filled = [
        (label != IGNORE_INDEX).astype(np.float32) if each is None else each
        for each, label in zip(weights, labels, strict=True)
    ]
    return np.concatenate(filled)


def collate(rows: Sequence[PackedRow]) -> PackedBatch:
    """The rows joined into one, with the boundaries of all their samples."""
    starts = np.cumsum([0, *(len(row.input_ids) for row in rows)])
    inner = [row.cu_seqlens[1:] + start for row, start in zip(rows, starts, strict=False)]
    cu_seqlens = np.concatenate([[0], *inner]).astype(np.int32)
    lengths = np.diff(cu_seqlens)
    weights = _joined([row.weights for row in rows], [row.labels for row in rows])
    positions = np.arange(int(cu_seqlens[-1])) - np.repeat(cu_seqlens[:-1], lengths)
    return PackedBatch(
        input_ids=np.concatenate([row.input_ids for row in rows])[None].astype(np.int64),
        labels=np.concatenate([row.labels for row in rows])[None].astype(np.int64),
        position_ids=positions[None].astype(np.int64),
        cu_seqlens=cu_seqlens,
        max_seqlen=int(lengths.max()),
        weights=None if weights is None else weights[None],
    )
