"""Trainers of the table: with padded batches as models that see pictures take them, and with a mistake each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sft_schema import IGNORE_INDEX
from sft_schema.record import PackedRow
from sft_train.loss import padded_nll, total_weight
from sft_train.trainer import SftTrainer
from sft_train.trainer.pictured import _wanted
from sft_train.trainer.rows import StoredRows, held_out_batches, to_tensors


def padded(rows: Sequence[PackedRow]) -> dict[str, Any]:
    """Rows of one sample each, filled up on the right to the longest, as `padded_nll` takes them."""
    shape = len(rows), max(len(row.input_ids) for row in rows)
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    labels, weights = np.full(shape, IGNORE_INDEX, dtype=np.int64), np.ones(shape, dtype=np.float32)
    for number, row in enumerate(rows):
        place = number, slice(len(row.input_ids))
        ids[place], mask[place], labels[place] = row.input_ids, 1, row.labels
        weights[place] = 1 if row.weights is None else row.weights
    weighted = any(row.weights is not None for row in rows)
    return {
        "model_inputs": {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)},
        "input_ids": torch.from_numpy(ids[mask != 0]),
        **_wanted(labels, weights if weighted else None),
    }


def leaking(rows: Sequence[PackedRow]) -> dict[str, Any]:
    """A batch that says of all its samples that they are one."""
    batch = to_tensors(rows)
    tokens = batch["input_ids"].shape[1]
    ends = torch.tensor([0, tokens], dtype=torch.int32)
    return batch | {"position_ids": torch.arange(tokens)[None], "cu_seqlens": ends, "max_seqlen": tokens}


def without_weights(rows: Sequence[PackedRow]) -> dict[str, Any]:
    """A batch all of whose tokens count 1."""
    batch = to_tensors(rows)
    batch.pop("target_weights", None)  # a blank batch has none
    return batch


class Collating(SftTrainer):
    """A trainer whose batches another function makes."""

    collate: Callable[[Sequence[PackedRow]], dict[str, Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.data_collator = self._held_out_batch = type(self).collate


class Padded(Collating):
    """No row holds more than one sample, and all rows of a batch are as long as the longest."""

    collate = staticmethod(padded)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.summed_loss = partial(padded_nll, call=self.call)


class Leaking(Collating):
    """The mistake of a mask of ones over packed rows."""

    collate = staticmethod(leaking)


class WithoutWeights(Collating):
    """The mistake of a loss that does not read the weights."""

    collate = staticmethod(without_weights)


class MeanOfMeans(SftTrainer):
    """The mistake of dividing by accumulation steps and processes instead of by trained tokens."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """The micro batch's own mean, a part of the mean of all."""
        assert self._in_hand is not None
        return self.summed_loss(model, inputs) / max(1, total_weight(inputs)) / len(self._in_hand.batches)


class HeldOutMeanOfMeans(SftTrainer):
    """The mistake of averaging the means of held-out batches."""

    def held_out_loss(self) -> float:
        """The mean over batches of their means, on this process alone."""
        store = self._prepared.eval
        assert store is not None
        rows = StoredRows(store, len(store))
        means = []
        with torch.no_grad():
            for share in held_out_batches(store.lengths, self._cfg, rows=1, process=0, processes=1):
                batch = to_tensors([rows[each] for each in share])
                means.append(float(self.summed_loss(self.model, batch)) / total_weight(batch))
        return sum(means) / len(means)


TRAINERS: dict[str, type[SftTrainer]] = {
    "": SftTrainer,
    "mean of means": MeanOfMeans,
    "leak": Leaking,
    "weights dropped": WithoutWeights,
    "eval mean of means": HeldOutMeanOfMeans,
}
"""By fault."""
