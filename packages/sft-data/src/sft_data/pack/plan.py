"""The plan of an epoch: which samples share which row, and in which order the rows come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft_data.pack.best_fit import best_fit_decreasing
from sft_schema import ContractError
from sft_schema.config import PackingSection
from sft_schema.record import PackPlan


def plan_packs(lengths: NDArray[np.integer], cfg: PackingSection, *, epoch: int = 0, shuffle: bool = True) -> PackPlan:
    """The rows of one epoch; the same for the same lengths, seed and epoch, wherever it is computed.

    Packed samples share rows by best-fit decreasing; which of several equally long samples go together, and the
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
    order = order[_long_to_short(sizes[order], cfg.sequence_len)]
    placed = best_fit_decreasing(sizes[order], cfg.sequence_len)
    rank = random.permutation(placed.rows) if shuffle else _by_earliest(order, placed.row, placed.rows)
    row_of = rank[placed.row]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=placed.rows))]).astype(np.int64)
    samples = np.empty_like(order)
    samples[offsets[row_of] + placed.slot] = order
    return PackPlan(samples, offsets, int(sizes.sum()), cfg.sequence_len)


def _long_to_short(sizes: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
    """Indices that sort by length, the longest first; equal lengths stay in order. numpy sorts 16 bits fastest."""
    small = np.uint16 if longest <= np.iinfo(np.uint16).max else np.int64
    return np.argsort((longest - sizes).astype(small), kind="stable")


def _by_earliest(order: NDArray[np.int64], row_of: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """New index of each row when rows are sorted by their earliest sample."""
    earliest = np.full(rows, len(order), dtype=np.int64)
    np.minimum.at(earliest, row_of, order)
    rank = np.empty(rows, dtype=np.int64)
    rank[np.argsort(earliest)] = np.arange(rows)
    return rank
