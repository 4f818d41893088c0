"""The plan of an epoch: which samples share which row, and in which order the rows come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft_data.pack.by_room import best_fit_decreasing, shortest_pack_first
from sft_data.pack.cut import split, wrapped
from sft_data.pack.first_fit import first_fit_decreasing
from sft_data.pack.next_fit import next_fit
from sft_data.pack.placement import UNLIMITED, Ints, Packer
from sft_schema import ContractError
from sft_schema.config import PackingSection
from sft_schema.record import PackPlan

DECREASING: dict[str, Packer] = {
    "bfd": best_fit_decreasing,
    "bfd_split": best_fit_decreasing,
    "ffd": first_fit_decreasing,
    "spfhp": shortest_pack_first,
}
"""Packers that take samples from long to short; they keep samples whole."""


def plan_packs(lengths: NDArray[np.integer], cfg: PackingSection, *, epoch: int = 0, shuffle: bool = True) -> PackPlan:
    """The rows of one epoch; the same for the same lengths, seed and epoch, wherever it is computed.

    Packed samples share rows by `packing_strategy`; which of several equally long samples go together, and the
    order of the rows, change with the epoch. The number of rows does not: it depends on the lengths alone, and for
    `sequential`, which keeps neighbours together, on their order in the data.

    Args:
        lengths: int `[n]`, tokens of each sample.
        cfg: `sample_packing`, `packing_strategy`, `max_samples_per_pack`, `sequence_len` and `seed`.
        epoch: epoch, from 0.
        shuffle: random order; otherwise rows come in the order of their earliest sample.

    Returns:
        A plan of whole samples; of pieces with `wrapped`, and with `bfd_split` where a sample is longer than a row.

    Raises:
        ContractError: a sample is empty, or longer than `sequence_len` and not to be split.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    splits = cfg.sample_packing and cfg.packing_strategy == "bfd_split"
    if len(sizes) and (sizes.min() <= 0 or (sizes.max() > cfg.sequence_len and not splits)):
        raise ContractError(f"sample lengths {sizes.min()} to {sizes.max()} do not fit rows of {cfg.sequence_len}")
    random = np.random.default_rng([cfg.seed, epoch])
    if not splits or not len(sizes) or sizes.max() <= cfg.sequence_len:
        return _of_fitting(sizes, cfg, random if shuffle else None)
    pieces = split(sizes, cfg.sequence_len)
    plan = _of_fitting(pieces[:, 2] - pieces[:, 1], cfg, random if shuffle else None)
    pieces = pieces[plan.samples]
    return PackPlan(pieces[:, 0], plan.row_offsets, plan.tokens, plan.sequence_len, pieces)


def _of_fitting(sizes: Ints, cfg: PackingSection, random: np.random.Generator | None) -> PackPlan:
    """The plan of samples that all fit a row; without `random` in the order of the data."""
    kept = np.arange(len(sizes), dtype=np.int64)
    if cfg.sample_packing and cfg.packing_strategy == "sequential":
        return _packed(sizes, kept, cfg, random, next_fit)
    order = kept if random is None else random.permutation(len(sizes))
    if not cfg.sample_packing:
        return PackPlan(order, np.arange(len(order) + 1), int(sizes.sum()), cfg.sequence_len)
    if cfg.packing_strategy == "wrapped":
        return wrapped(sizes, order, cfg.sequence_len)
    order = order[long_to_short(sizes[order], cfg.sequence_len)]
    return _packed(sizes, order, cfg, random, DECREASING[cfg.packing_strategy])


def _packed(
    sizes: Ints, order: Ints, cfg: PackingSection, random: np.random.Generator | None, packer: Packer
) -> PackPlan:
    """Samples in the packer's rows, which come in random order or in that of their earliest sample."""
    placed = packer(sizes[order], cfg.sequence_len, cfg.max_samples_per_pack or UNLIMITED)
    rank = _by_earliest(order, placed.row, placed.rows) if random is None else random.permutation(placed.rows)
    row_of = rank[placed.row]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=placed.rows))]).astype(np.int64)
    samples = np.empty_like(order)
    samples[offsets[row_of] + placed.slot] = order
    return PackPlan(samples, offsets, int(sizes.sum()), cfg.sequence_len)


def long_to_short(sizes: Ints, longest: int) -> Ints:
    """Indices that sort by length, the longest first; equal lengths stay in order. numpy sorts 16 bits fastest."""
    small = np.uint16 if longest <= np.iinfo(np.uint16).max else np.int64
    return np.argsort((longest - sizes).astype(small), kind="stable")


def _by_earliest(order: Ints, row_of: Ints, rows: int) -> Ints:
    """New index of each row when rows are sorted by their earliest sample."""
    earliest = np.full(rows, len(order), dtype=np.int64)
    np.minimum.at(earliest, row_of, order)
    rank = np.empty(rows, dtype=np.int64)
    rank[np.argsort(earliest)] = np.arange(rows)
    return rank
