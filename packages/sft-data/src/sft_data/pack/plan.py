"""The plan of an epoch: which samples share which row, and in which order the rows come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft_data.pack.first_fit import first_fit_decreasing
from sft_schema import ContractError
from sft_schema.config import PackingSection
from sft_schema.record import PackPlan


def plan_packs(lengths: NDArray[np.integer], cfg: PackingSection, *, epoch: int = 0, shuffle: bool = True) -> PackPlan:
    """The rows of one epoch; the same for the same lengths, seed and epoch, wherever it is computed.

    Packed samples share rows by first-fit decreasing; which of several equally long samples go together, and the
    order of the rows, change with the epoch. The number of rows does not: it depends on the lengths alone.

    Args:
        lengths: int `[n]`, tokens of each sample.
        cfg: `sample_packing`, `sequence_len` and `seed`.
        epoch: epoch, from 0.
        shuffle: random order; otherwise rows come in the order of their earliest sample.

    Raises:
        ContractError: a sample is empty or longer than `sequence_len`.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) and not 0 < sizes.min() <= sizes.max() <= cfg.sequence_len:
        raise ContractError(f"sample lengths {sizes.min()} to {sizes.max()} do not fit rows of {cfg.sequence_len}")
    random = np.random.default_rng([cfg.seed, epoch])
    order = random.permutation(len(sizes)) if shuffle else np.arange(len(sizes))
    if not cfg.sample_packing:
        return PackPlan(order, np.arange(len(order) + 1), int(sizes.sum()), cfg.sequence_len)
    order = order[np.argsort(-sizes[order], kind="stable")]
    row_of, rows = first_fit_decreasing(sizes[order], cfg.sequence_len)
    rank = random.permutation(rows) if shuffle else _by_earliest(order, row_of, rows)
    row_of = rank[row_of]
    by_row = np.argsort(row_of, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=rows))])
    return PackPlan(order[by_row], offsets.astype(np.int64), int(sizes.sum()), cfg.sequence_len)


def _by_earliest(order: NDArray[np.int64], row_of: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """New index of each row when rows are sorted by their earliest sample."""
    earliest = np.full(rows, len(order), dtype=np.int64)
    np.minimum.at(earliest, row_of, order)
    rank = np.empty(rows, dtype=np.int64)
    rank[np.argsort(earliest)] = np.arange(rows)
    return rank
