"""The cells of the table of loss invariance: every way to compute one and the same optimizer step."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

TRITON = "sft_varlen (triton)"
FLEX = "flex_attention"
ATTENTION = ("eager", "sdpa", FLEX, "sft_varlen", TRITON)
LAYOUTS = ("packed", "padded", "one by one")
KINDS = ("full", "lora")
WEIGHTS = ("equal", "weighted")
CUTS = {"1x8": (1, 8), "2x4": (2, 4), "8x1": (8, 1)}
RANKS = (1, 2)
FAULTS = {
    "mean of means": "each micro batch's mean, averaged",
    "leak": "samples of a packed row see one another",
    "weights dropped": "the weights of the data are left out",
    "eval mean of means": "each held-out batch's mean, averaged",
}
TOLERANCE = 1e-5
SEEN_FROM = 1e-3
"""A fault must be further off than this: what the tolerance allows cannot hide it."""


class Cell(NamedTuple):
    """One way to compute the step.

    Attributes:
        attention: backend, and with sft_varlen which implementation.
        layout: how samples share rows.
        kind: which weights are trained: all, or those of LoRA.
        weights: whether tokens count differently.
        cut: micro batch x accumulation of each process.
        ranks: processes.
        fault: a mistake made on purpose, one of FAULTS; "" for none.
    """

    attention: str
    layout: str
    kind: str
    weights: str
    cut: str
    ranks: int
    fault: str = ""


class Differences(NamedTuple):
    """How far a cell is from the step computed sample by sample in float64, each the largest absolute difference.

    Attributes:
        loss: of the step's loss.
        gradient: of all gradients; None where there is no backward pass.
        held_out: of the held-out loss.
    """

    loss: float
    gradient: float | None
    held_out: float

    def largest(self) -> float:
        """The largest one there is; NaN if one is."""
        there = [each for each in self if each is not None]
        return next((each for each in there if each != each), max(there))


def cells(ranks: int) -> list[Cell]:
    """All cells of so many processes, without faults, in the order of the table."""
    return [Cell(*each, ranks) for each in product(ATTENTION, LAYOUTS, KINDS, WEIGHTS, CUTS)]


def in_ci(cell: Cell) -> bool:
    """Whether CI measures it too. Of triton, whose interpreter takes seconds for a cell, it takes three for each ranks.

    Those have each layout and each cut once, and both kinds and both weights. Of its faults it takes those of one rank.
    """
    if cell.attention != TRITON:
        return True
    if cell.fault:
        return cell.ranks == 1
    row, column = LAYOUTS.index(cell.layout), list(CUTS).index(cell.cut)
    kind, weights = KINDS.index(cell.kind), WEIGHTS.index(cell.weights)
    chosen = (row + cell.ranks) % 3, (row + cell.ranks) % 2, (row // 2 + cell.ranks) % 2
    return (column, kind, weights) == chosen


def faulty(ranks: int) -> list[Cell]:
    """Cells with one mistake each, which must be seen."""
    mean = Cell("sdpa", "one by one", "full", "equal", "2x4", ranks, "mean of means")
    leaks = [
        Cell(attention, "packed", "full", "equal", "1x8", ranks, "leak")
        for attention in ("eager", "sdpa", FLEX, "sft_varlen", TRITON)
    ]
    dropped = Cell("sdpa", "packed", "lora", "weighted", "2x4", ranks, "weights dropped")
    held_out = Cell("sdpa", "one by one", "full", "equal", "1x8", ranks, "eval mean of means")
    return [mean, *leaks, dropped, held_out]
