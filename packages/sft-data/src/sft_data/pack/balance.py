"""Rows of a step chosen and dealt out to the processes, so that none waits long for another.

Attention costs the square of a sample's length, so rows of equally many tokens differ: one sample of 8 tokens costs
64, four of 2 cost 16. `deal_evenly` leaves each step its rows; who computes which of them, and in which micro batch,
changes. So the sums over a step, and with them loss and gradient, are those of a run that is not balanced.

    2 processes, 3 micro batches of one row    as they come    9 1 | 2 8 | 7 1    18 and 10
                                               dealt           9 8 | 2 7 | 1 1    12 and 16

Where a process has a single row of a step, as with thousands of processes, nothing is left to deal: all wait for the
costliest row. `steps_alike` exchanges rows between steps, so that those of a step have like costs.

    2 processes, 1 row each    as they come    9 1 | 2 8 | 7 1    all wait for 9 + 8 + 7 = 24
                               alike           9 8 | 7 2 | 1 1    all wait for 9 + 7 + 1 = 17
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft_data.pack.placement import UNLIMITED, Ints, counted
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

    From the costliest row to the cheapest, each goes to the process with the least to do so far that still has a
    place in its micro batches (Graham 1969, longest processing time first). Rows that are computed at the same time
    have similar costs then. Where that would give the busiest process more than it has as rows come, and in a last
    step of fewer rows, they stay as they come.

    Args:
        plan: rows in the order of an epoch: a micro batch for each process, then the next for each, and so on.
        cost: int64 `[rows]`.
        micro_batch_size: rows of a micro batch.
        accumulation: micro batches of a process in a step.
        processes: processes that train together.
    """
    rounds = micro_batch_size * accumulation
    size = rounds * processes
    steps = len(plan) // size
    if processes == 1 or not steps:
        return plan
    costs = cost[: steps * size].reshape(steps, size)
    ranked = np.argsort(-costs, axis=1, kind="stable")
    step = np.arange(steps)
    spent = np.zeros((steps, processes), dtype=np.int64)
    held = np.zeros_like(spent)
    dealt = np.empty_like(ranked)
    for rows in ranked.T:
        process = np.argmin(np.where(held < rounds, spent, UNLIMITED), axis=1)
        micro_batch, place = np.divmod(held[step, process], micro_batch_size)
        dealt[step, (micro_batch * processes + process) * micro_batch_size + place] = rows
        held[step, process] += 1
        spent[step, process] += costs[step, rows]
    as_they_come = costs.reshape(steps, accumulation, processes, micro_batch_size).sum(axis=(1, 3))
    dealt[spent.max(axis=1) > as_they_come.max(axis=1)] = np.arange(size)
    order = np.arange(len(plan))
    order[: dealt.size] = (dealt + step[:, None] * size).ravel()
    return _reordered(plan, order)


def steps_alike(plan: PackPlan, cost: Ints, *, rows_per_step: int, seed: int, epoch: int, window: int = 32) -> PackPlan:
    """The plan with rows exchanged between its whole steps, so that the rows of a step have like costs.

    Within every `window` steps, the rows are sorted by cost and cut into steps, which are then shuffled: every
    row is trained once in the epoch, and a step of long samples is as likely at its beginning as at its end. The
    rows of a last step that is not full stay there. The result depends on what is given and nothing else, so it is
    the same for any division of `rows_per_step` into processes and micro batches.

    Args:
        plan: rows in the order of an epoch.
        cost: `[rows]`, in any unit.
        rows_per_step: micro batch x accumulation x processes.
        seed: of the shuffle.
        epoch: each shuffles anew.
        window: steps between which rows are exchanged. Fewer keep a step more random, more make it more alike.
    """
    steps = len(plan) // rows_per_step
    random = np.random.default_rng([seed, epoch, rows_per_step])
    order = np.arange(len(plan))
    for first in range(0, steps, window):
        rows = order[first * rows_per_step : min(first + window, steps) * rows_per_step]
        alike = rows[np.argsort(-cost[rows], kind="stable")].reshape(-1, rows_per_step)
        rows[:] = alike[random.permutation(len(alike))].ravel()
    return _reordered(plan, order)


def _reordered(plan: PackPlan, rows: Ints) -> PackPlan:
    held = np.diff(plan.row_offsets)[rows]
    where = counted(plan.row_offsets[:-1][rows], held)
    pieces = None if plan.pieces is None else plan.pieces[where]
    offsets = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
    return PackPlan(plan.samples[where], offsets, plan.tokens, plan.sequence_len, pieces)
