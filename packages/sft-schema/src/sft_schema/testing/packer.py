"""Contract of a packer: lengths to a plan of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Protocol

from sft_schema.check import check_plan
from sft_schema.config import PackingSection
from sft_schema.errors import ContractError
from sft_schema.record import PackPlan

_SEQUENCE_LEN = 64
_EPOCHS = range(3)


class Packer(Protocol):
    """What is checked: `plan(lengths, cfg, epoch=..., shuffle=...)`, as `sft_data.plan_packs`."""

    def __call__(self, lengths: Any, cfg: PackingSection, *, epoch: int, shuffle: bool) -> PackPlan:
        """The rows of one epoch; see `check_packer`."""
        ...


def check_packer(plan: Packer, *, array: Callable[[list[int]], Any] = list) -> int:
    """Every sample stands in one row that fits, in every epoch, the same each time it is computed.

    Without `sample_packing` a row holds one sample. The number of rows is the same in every epoch, or the number of
    steps would not be known beforehand. With `shuffle` another epoch or seed gives another order, without it none
    does. No more rows are used than twice what the tokens fill (the bound of next fit, the simplest packing there
    is). Lengths that fit no row are refused with `ContractError`, and `lengths` is not written to.

    Args:
        plan: the packer.
        array: makes what the packer takes as lengths, `numpy.asarray` for one.

    Returns:
        How many plans were checked.

    Raises:
        ContractError: a promise is broken, with the lengths.
    """
    checked = 0
    for lengths in _length_lists():
        for packing in (False, True):
            _check_lengths(plan, array, lengths, packing)
            checked += 2 * len(_EPOCHS)
    _check_order(plan, array)
    for wrong in ([3, 0], [3, _SEQUENCE_LEN + 1], [-1]):
        _check_refusal(plan, array(wrong), wrong)
    return checked


def _section(*, packing: bool = True, seed: int = 42) -> PackingSection:
    return PackingSection(sequence_len=_SEQUENCE_LEN, sample_packing=packing, seed=seed)


def _length_lists() -> Iterator[list[int]]:
    yield []
    yield [1]
    yield [_SEQUENCE_LEN]
    yield [_SEQUENCE_LEN // 2 + 1] * 5
    yield [1] * (2 * _SEQUENCE_LEN + 1)
    for seed in range(3):
        random = Random(seed)
        yield [random.randint(1, _SEQUENCE_LEN) for _ in range(97)]
        yield [min(_SEQUENCE_LEN, int(random.lognormvariate(2.0, 1.0)) + 1) for _ in range(200)]


def _check_lengths(plan: Packer, array: Callable[[list[int]], Any], lengths: list[int], packing: bool) -> None:
    cfg, what = _section(packing=packing), f"{len(lengths)} samples {lengths[:8]}, sample_packing {packing}"
    counts: set[int] = set()
    for shuffle in (True, False):
        for epoch in _EPOCHS:
            given = array(list(lengths))
            made = plan(given, cfg, epoch=epoch, shuffle=shuffle)
            check_plan(made, lengths)
            _require(list(given) == lengths, what, "the packer wrote into `lengths`")
            _require(made.tokens == sum(lengths), what, f"the plan counts {made.tokens} tokens of {sum(lengths)}")
            _require(made.sequence_len == cfg.sequence_len, what, f"the plan's rows hold {made.sequence_len} tokens")
            again = plan(array(list(lengths)), cfg, epoch=epoch, shuffle=shuffle)
            _require(_rows(again) == _rows(made), what, f"two plans of epoch {epoch} differ")
            counts.add(len(made))
    _require(len(counts) == 1, what, f"the number of rows changes with the epoch: {sorted(counts)}")
    (count,) = counts
    _require(packing or count == len(lengths), what, f"{count} rows for {len(lengths)} samples that are not packed")
    most = 2 * sum(lengths) // _SEQUENCE_LEN + 1 if lengths else 0
    _require(not packing or count <= most, what, f"{count} rows, where next fit needs at most {most}")


def _check_order(plan: Packer, array: Callable[[list[int]], Any]) -> None:
    lengths = [7] * _SEQUENCE_LEN

    def order(*, seed: int = 42, epoch: int = 0, shuffle: bool = True) -> list[list[int]]:
        return _rows(plan(array(list(lengths)), _section(seed=seed), epoch=epoch, shuffle=shuffle))

    _require(order(epoch=0) != order(epoch=1), "equal lengths", "epochs 0 and 1 have the same rows")
    _require(order(seed=1) != order(seed=2), "equal lengths", "seeds 1 and 2 give the same rows")
    still = {str(order(seed=seed, epoch=epoch, shuffle=False)) for seed in (1, 2) for epoch in _EPOCHS}
    _require(len(still) == 1, "equal lengths", "without shuffle the rows change with the seed or the epoch")


def _rows(plan: PackPlan) -> list[list[int]]:
    return [plan.row(index).tolist() for index in range(len(plan))]


def _check_refusal(plan: Packer, given: Any, lengths: Sequence[int]) -> None:
    try:
        plan(given, _section(), epoch=0, shuffle=True)
    except ContractError:
        return
    raise ContractError(f"lengths {list(lengths)} do not fit rows of {_SEQUENCE_LEN} and were not refused")


def _require(holds: bool, what: str, message: str) -> None:
    if not holds:
        raise ContractError(f"{what}: {message}")
