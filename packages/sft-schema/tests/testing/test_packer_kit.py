"""check_packer accepts next fit and names what a wrong packer does."""

from array import array
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from sft_schema import ContractError
from sft_schema.config import PackingSection
from sft_schema.record import PackPlan
from sft_schema.testing import check_packer


def made(rows: list[list[int]], lengths: list[int], cfg: PackingSection) -> PackPlan:
    offsets = [sum(map(len, rows[:count])) for count in range(len(rows) + 1)]
    samples: Any = array("q", [sample for row in rows for sample in row])
    ends: Any = array("q", offsets)
    return PackPlan(samples, ends, sum(lengths), cfg.sequence_len)


def next_fit(lengths: Any, cfg: PackingSection, *, epoch: int = 0, shuffle: bool = True) -> PackPlan:
    """The simplest packing; the rows are made once and shuffled whole, so that their number stays the same."""
    sizes = list(lengths)
    if any(not 0 < size <= cfg.sequence_len for size in sizes):
        raise ContractError("does not fit")
    rows: list[list[int]] = []
    room = 0
    for sample, size in enumerate(sizes):
        if not cfg.sample_packing or size > room:
            rows.append([])
            room = cfg.sequence_len
        rows[-1].append(sample)
        room -= size
    if shuffle:
        Random(1000 * cfg.seed + epoch).shuffle(rows)
    return made(rows, sizes, cfg)


def test_next_fit_passes() -> None:
    assert check_packer(next_fit) == 2 * 6 * 11
    assert check_packer(next_fit, array=lambda lengths: array("q", lengths)) == 2 * 6 * 11


Change = Callable[[Any, PackingSection, int, bool], PackPlan]


def loses_one(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    plan = next_fit(lengths, cfg, epoch=epoch, shuffle=shuffle)
    return made([plan.row(index).tolist() for index in range(1, len(plan))], list(lengths), cfg)


def wastes(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    one_each = PackingSection(sequence_len=cfg.sequence_len, sample_packing=False, seed=cfg.seed)
    return next_fit(lengths, one_each, epoch=epoch, shuffle=shuffle)


def packs_always(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    packed = PackingSection(sequence_len=cfg.sequence_len, sample_packing=True, seed=cfg.seed)
    return next_fit(lengths, packed, epoch=epoch, shuffle=shuffle)


def forgets_the_epoch(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    return next_fit(lengths, cfg, epoch=0, shuffle=shuffle)


def forgets_the_seed(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    other = PackingSection(sequence_len=cfg.sequence_len, sample_packing=cfg.sample_packing, seed=0)
    return next_fit(lengths, other, epoch=epoch, shuffle=shuffle)


def always_shuffles(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    return next_fit(lengths, cfg, epoch=epoch, shuffle=True)


def shuffles_first(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    order = list(range(len(lengths)))
    if shuffle:
        Random(1000 * cfg.seed + epoch).shuffle(order)
    plan = next_fit([lengths[sample] for sample in order], cfg, epoch=epoch, shuffle=False)
    return made([[order[sample] for sample in plan.row(row)] for row in range(len(plan))], list(lengths), cfg)


def sorts_in_place(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    plan = next_fit(list(lengths), cfg, epoch=epoch, shuffle=shuffle)
    lengths.sort()
    return plan


def by_chance(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    by_chance.calls += 1  # type: ignore[attr-defined]
    return next_fit(lengths, cfg, epoch=by_chance.calls, shuffle=shuffle)  # type: ignore[attr-defined]


by_chance.calls = 0  # type: ignore[attr-defined]


def miscounts(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    plan = next_fit(lengths, cfg, epoch=epoch, shuffle=shuffle)
    return PackPlan(plan.samples, plan.row_offsets, plan.tokens + 1, plan.sequence_len)


def cuts(lengths: Any, cfg: PackingSection, epoch: int, shuffle: bool) -> PackPlan:
    return next_fit([min(max(size, 1), cfg.sequence_len) for size in lengths], cfg, epoch=epoch, shuffle=shuffle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (loses_one, "missing or stands twice"),
        (wastes, "where next fit needs at most"),
        (packs_always, "samples that are not packed"),
        (forgets_the_epoch, "epochs 0 and 1 have the same rows"),
        (forgets_the_seed, "seeds 1 and 2 give the same rows"),
        (always_shuffles, "without shuffle the rows change"),
        (shuffles_first, "the number of rows changes with the epoch"),
        (sorts_in_place, "wrote into `lengths`"),
        (by_chance, "two plans of epoch 0 differ"),
        (miscounts, "the plan counts"),
        (cuts, r"lengths \[3, 0\] do not fit rows of 64 and were not refused"),
    ],
)
def test_a_wrong_packer_is_named(change: Change, message: str) -> None:
    def plan(lengths: Any, cfg: PackingSection, *, epoch: int, shuffle: bool) -> PackPlan:
        return change(lengths, cfg, epoch, shuffle)

    with pytest.raises(ContractError, match=message):
        check_packer(plan)
