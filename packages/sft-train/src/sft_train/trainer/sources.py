"""Training loss by data set, where there are several: one that is learnt may hide one that is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from sft_data import SampleStore
from sft_schema.record import PackedRow
from sft_train.trainer.rows import to_tensors


class SourceLosses:
    """Adds up weight x negative log-likelihood and weight of trained tokens by the data set that they come from.

    Args:
        store: of the training samples.
    """

    def __init__(self, store: SampleStore) -> None:
        self.names, self._source_of = store.sources()
        self._sums: Tensor | None = None

    def to_tensors(self, rows: Sequence[PackedRow]) -> dict[str, Any]:
        """As `to_tensors`, and `sources` int64 `[k]`: the number of the data set of each trained token."""
        batch = to_tensors(rows)
        blank = np.zeros(1, dtype=np.int64)
        samples: NDArray[np.int64] = np.concatenate([row.samples if len(row.samples) else blank for row in rows])
        inner = batch["cu_seqlens"].numpy()[1:-1]
        place = np.searchsorted(inner, batch["predict_at"].numpy(), side="right")
        return batch | {"sources": torch.from_numpy(self._source_of[samples[place]])}

    @torch.no_grad()
    def note(self, nll: Tensor, batch: Mapping[str, Any]) -> None:
        """Takes in a micro batch.

        Args:
            nll: `[k]`, negative log-likelihood of each trained token.
            batch: one of `to_tensors`; others are passed over, such as held-out ones.
        """
        sources = batch.get("sources")
        if sources is None:
            return
        weights = batch.get("target_weights")
        weight = torch.ones_like(nll) if weights is None else weights
        if self._sums is None:
            self._sums = torch.zeros(2, len(self.names), dtype=torch.float64, device=nll.device)
        self._sums.index_add_(1, sources, torch.stack([nll * weight, weight]).double())

    def losses(self, accelerator: Accelerator) -> dict[str, float]:
        """Loss per trained token since the last call, over all processes; a data set without any is left out."""
        sums = torch.zeros(2, len(self.names), dtype=torch.float64) if self._sums is None else self._sums
        self._sums = None
        if accelerator.num_processes > 1:
            sums = accelerator.reduce(sums.to(accelerator.device), "sum")
        totals, weights = sums.tolist()
        each = zip(self.names, totals, weights, strict=True)
        return {f"loss/{name}": round(total / weight, 4) for name, total, weight in each if weight}
