"""Packed rows to the batches that each process trains on.

Which rows make an optimizer step depends on (seed, epoch) alone, not on how many processes there are and how
many micro batches each of them does. With rows r0, r1, ... in the epoch's order, micro batches of one row, two
processes and two accumulation steps:

    step            0               1
    process 0   r0      r2      r4      r6
    process 1   r1      r3      r5      (none: a blank row that trains nothing)

The Trainer's own way would train r0 a second time at the end to fill the gap. With `packing_balance: attention` the
rows of a step are the same ones, in an order that gives every process as much to do; with `steps` rows are exchanged
between steps first, which depends on the rows of a step and not on who computes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from sft_data import SampleStore, collate, pack_row, plan_packs
from sft_data.pack import attention_cost, deal_evenly, steps_alike
from sft_schema import IGNORE_INDEX
from sft_schema.config import PackingSection
from sft_schema.record import PackedRow, PackPlan

Samples = NDArray[np.int64]
_BLANK: Samples = np.empty(0, dtype=np.int64)


class StoredRows(Dataset[PackedRow]):
    """Rows by the samples in them, int64 `[k]`, or their pieces, int64 `[k, 3]`; no samples give a blank row."""

    def __init__(self, store: SampleStore, rows: int) -> None:
        self.store = store
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, samples: Samples) -> PackedRow:
        return pack_row(self.store, samples) if len(samples) else self._blank()

    def _blank(self) -> PackedRow:
        """The first two tokens of the data without labels: as little work as a forward pass can be."""
        tokens = self.store[0].input_ids[:2]
        labels = np.full_like(tokens, IGNORE_INDEX)
        return PackedRow(tokens, labels, np.array([0, len(tokens)], dtype=np.int32), _BLANK)


class EpochRows(Sampler[list[Samples]]):
    """The micro batches of one process: each a list of rows, a row being what `PackPlan.row` gives.

    Args:
        lengths: int `[n]`: tokens of each sample.
        cfg: how samples share rows.
        micro_batch_size: rows of a micro batch.
        process: number of this process.
        processes: processes in all.
        shuffle: rows come in a random order; otherwise in the order of the data.
    """

    def __init__(
        self,
        lengths: NDArray[np.integer[Any]],
        cfg: PackingSection,
        *,
        micro_batch_size: int,
        process: int = 0,
        processes: int = 1,
        shuffle: bool = True,
    ) -> None:
        self._lengths = lengths
        self._cfg = cfg
        self._micro_batch_size = micro_batch_size
        self._process, self._processes = process, processes
        self._epoch = 0
        self._shuffle = shuffle
        self._accumulation: int | None = None
        self.plan: PackPlan = self._planned(0)

    def balance(self, accumulation: int) -> None:
        """From now on steps of `accumulation` micro batches are balanced as `packing_balance` says."""
        self._accumulation = accumulation
        self.plan = self._planned(self._epoch)

    def _planned(self, epoch: int) -> PackPlan:
        plan = plan_packs(self._lengths, self._cfg, epoch=epoch, shuffle=self._shuffle)
        if self._accumulation is None or self._cfg.packing_balance == "none":
            return plan
        if self._cfg.packing_balance == "steps":
            rows_per_step = self._micro_batch_size * self._accumulation * self._processes
            cost = attention_cost(plan, self._lengths)
            plan = steps_alike(plan, cost, rows_per_step=rows_per_step, seed=self._cfg.seed, epoch=epoch)
        return deal_evenly(
            plan,
            attention_cost(plan, self._lengths),
            micro_batch_size=self._micro_batch_size,
            accumulation=self._accumulation,
            processes=self._processes,
        )

    def start_epoch(self, epoch: int) -> None:
        """Plans the rows of an epoch.

        The name is not the usual `set_epoch`: data loaders call that with numbers of their own, which begin
        at 0 again after a resume.
        """
        if epoch != self._epoch:
            self.plan = self._planned(epoch)
            self._epoch = epoch

    def __len__(self) -> int:
        """Micro batches of this process in an epoch, the same for every process and every epoch."""
        return ceil(ceil(len(self.plan) / self._micro_batch_size) / self._processes)

    def steps(self, accumulation: int) -> int:
        """Optimizer steps of an epoch, of `accumulation` micro batches each; the last may have fewer."""
        return ceil(len(self) / accumulation)

    def of_step(self, step: int, accumulation: int, count: int) -> list[list[Samples]]:
        """The first `count` micro batches of an optimizer step, which counts from 0 over the run."""
        first = step % self.steps(accumulation) * accumulation
        return [self.batch(first + place) for place in range(count)]

    def __iter__(self) -> Iterator[list[Samples]]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> list[Samples]:
        """One micro batch of this process, counted from 0 in the epoch."""
        first = (number * self._processes + self._process) * self._micro_batch_size
        rows = range(first, min(first + self._micro_batch_size, len(self.plan)))
        return [self.plan.row(row) for row in rows] or [_BLANK]


def held_out_batches(
    lengths: NDArray[np.integer[Any]], cfg: PackingSection, *, rows: int, process: int, processes: int
) -> Iterator[list[Samples]]:
    """This process's share of the held-out rows, `rows` of them a batch.

    Every process has as many batches, the last of some a blank one: where the model is shared out, none can run it
    without the others.

    Samples share rows where they do in training, but none is cut, so the loss is that of whole samples with every
    `packing_strategy`.
    """
    plan = plan_packs(lengths, cfg.model_copy(update={"packing_strategy": "bfd"}), epoch=0, shuffle=False)
    for number in range(process, -(-len(plan) // (rows * processes)) * processes, processes):
        yield [plan.row(row) for row in range(number * rows, min((number + 1) * rows, len(plan)))] or [_BLANK]


def to_tensors(rows: Sequence[PackedRow]) -> dict[str, Any]:
    """Rows joined end to end, as the loss takes them.

    Returns:
        `input_ids` and `position_ids` int64 `[1, t]`; `predict_at` int64 `[k]`: positions whose next token is
        trained; `targets` int64 `[k]`: those tokens; `target_weights` float32 `[k]`: what each counts in the loss,
        only there when one does not count 1; `cu_seqlens` int32 `[n + 1]`; `max_seqlen` int. They are worked out
        here, on the host, so that a GPU is not waited for.
    """
    batch = collate(rows)
    predict_at = np.flatnonzero(batch.labels[0, 1:] != IGNORE_INDEX)
    weights = {}
    if batch.weights is not None:
        weights["target_weights"] = torch.from_numpy(batch.weights[0, predict_at + 1])
    return {
        "input_ids": torch.from_numpy(batch.input_ids),
        "position_ids": torch.from_numpy(batch.position_ids),
        "predict_at": torch.from_numpy(predict_at),
        "targets": torch.from_numpy(batch.labels[0, predict_at + 1]),
        "cu_seqlens": torch.from_numpy(batch.cu_seqlens),
        "max_seqlen": batch.max_seqlen,
        **weights,
    }
