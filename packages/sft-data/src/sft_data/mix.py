"""Mixing: which samples of each data set make up an epoch, and in which order they stand.

With weights w and sizes n (rows or tokens), `interleave_under` takes w * min(n / w) of each data set: the first one to
be used up ends the mix, and nothing repeats. `interleave_over` takes w * max(n / w): the mix ends when the last data
set has been used once, and the others begin anew in another order. Every epoch has the same samples; the choice
depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sft_schema.config import DatasetConfig, SftConfig

Lengths = NDArray[np.int64]


def weights_of(datasets: Sequence[DatasetConfig]) -> list[float]:
    """The weights; all data sets weigh the same when none is given."""
    return [1.0 if dataset.weight is None else dataset.weight for dataset in datasets]


def mix(lengths: Sequence[Lengths], weights: Sequence[float], cfg: SftConfig) -> NDArray[np.int64]:
    """The samples of an epoch as (data set, index), int64 `[n, 2]`, in the order of a well-stirred mix.

    Args:
        lengths: int64 `[n]` of each data set, tokens of its samples; none is empty.
        weights: share of each.
        cfg: `mix_strategy`, `mix_by`, `seed` and `shuffle_merged_datasets`.
    """
    sizes = [each if cfg.mix_by == "tokens" else np.ones_like(each) for each in lengths]
    scales = [int(size.sum()) / weight for size, weight in zip(sizes, weights, strict=True)]
    scale = min(scales) if cfg.mix_strategy == "interleave_under" else max(scales)
    chosen: list[Lengths] = []
    places: list[NDArray[np.float64]] = []
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        samples = _choose(size, weight * scale, _Orders(len(size), number, cfg))
        done = np.cumsum(size[samples])
        chosen.append(samples)
        places.append((done - size[samples] / 2) / done[-1])  # the middle of each sample, from 0 to 1
    dataset = np.repeat(np.arange(len(chosen)), [len(each) for each in chosen])
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.stack([dataset[order], np.concatenate(chosen)[order]], axis=1)


class _Orders:
    """The orders in which a data set is gone through: the file's, or a random one for each pass."""

    def __init__(self, count: int, number: int, cfg: SftConfig) -> None:
        self._count, self._seed, self._random = count, [cfg.seed, number], cfg.shuffle_merged_datasets

    def of_pass(self, number: int) -> Lengths:
        """int64 `[n]`."""
        if not self._random:
            return np.arange(self._count)
        return np.random.default_rng([*self._seed, number]).permutation(self._count)


def _choose(size: Lengths, wanted: float, orders: _Orders) -> Lengths:
    """Samples whose sizes add up to what is wanted, as nearly as whole samples allow; at least one."""
    total = int(size.sum())
    passes, rest = int(wanted // total), wanted % total
    if total - rest < 1e-6 * total:  # a whole pass, but for rounding
        passes, rest = passes + 1, 0.0
    chosen = [orders.of_pass(number) for number in range(passes)]
    last = orders.of_pass(passes)
    sums = np.concatenate([[0], np.cumsum(size[last])])
    count = int(np.abs(sums - rest).argmin())
    if not passes:
        count = max(count, 1)
    return np.concatenate([*chosen, last[:count]])
