"""Rows of a step dealt out to the processes, so that none waits long for another.

Attention costs the square of a sample's length, so rows of equally many tokens differ: one sample of 8 tokens costs
64, four of 2 cost 16. Which rows make a step stays as it was; who computes which of them, and in which micro batch,
changes. So the sums over a step, and with them loss and gradient, are those of a run that is not balanced.

    costs of a step, 2 processes, 3 micro batches of one row      9 1 2 8 7 1
    as they come     9 1 | 2 8 | 7 1                              18 and 10
    dealt            9 8 | 2 7 | 1 1                              12 and 16
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft_data.pack.placement import Ints, counted
from sft_schema.record import PackPlan


def attention_cost(plan: PackPlan, lengths: NDArray[np.integer]) -> Ints:
    """Sum of the squared lengths in each row: int64 `[rows]`.

    Args:
        plan: the rows.
        lengths: int `[n]`: tokens of each sample.
    """
    if not len(plan):
        return np.empty(0, dtype=np.int64)
    whole = np.asarray(lengths, dtype=np.int64)
    sizes = whole[plan.samples] if plan.pieces is None else plan.pieces[:, 2] - plan.pieces[:, 1]
    return np.add.reduceat(sizes * sizes, plan.row_offsets[:-1])


def deal_evenly(plan: PackPlan, cost: Ints, *, micro_batch_size: int, accumulation: int, processes: int) -> PackPlan:
    """The plan with the rows of each whole step in the order that evens the costs of processes.

    Rows of a step are ranked by cost, and dealt from the top, one to each process at a time: the most expensive of
    them to the process with the least so far. Rows that are computed at the same time have similar costs then, and
    at the end of a step the costs of two processes differ by no more than those of two rows. A last step of fewer
    rows stays as it is.

    Args:
        plan: rows in the order of an epoch: a micro batch for each process, then the next for each, and so on.
        cost: int64 `[rows]`.
        micro_batch_size: rows of a micro batch.
        accumulation: micro batches of a process in a step.
        processes: processes that train together.
    """
    rounds = micro_batch_size * accumulation
    steps = len(plan) // (rounds * processes)
    if processes == 1 or not steps:
        return plan
    costs = cost[: steps * rounds * processes].reshape(steps, -1)
    ranked = np.argsort(-costs, axis=1, kind="stable")
    step = np.arange(steps)[:, None]
    spent = np.zeros((steps, processes), dtype=np.int64)
    dealt = np.empty_like(ranked)
    for number in range(rounds):
        rows = ranked[:, number * processes : (number + 1) * processes]
        process = np.argsort(spent, axis=1, kind="stable")
        micro_batch, place = divmod(number, micro_batch_size)
        dealt[step, (micro_batch * processes + process) * micro_batch_size + place] = rows
        spent[step, process] += costs[step, rows]
    order = np.arange(len(plan))
    order[: dealt.size] = (dealt + step * rounds * processes).ravel()
    return _reordered(plan, order)


def _reordered(plan: PackPlan, rows: Ints) -> PackPlan:
    held = np.diff(plan.row_offsets)[rows]
    where = counted(plan.row_offsets[:-1][rows], held)
    pieces = None if plan.pieces is None else plan.pieces[where]
    offsets = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
    return PackPlan(plan.samples[where], offsets, plan.tokens, plan.sequence_len, pieces)
