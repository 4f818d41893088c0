"""Loss on held-out rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from sft_schema import TrainingError
from sft_train.loss import SummedLoss, total_weight
from sft_train.trainer.not_finite import TOGETHER, first_not_finite


@dataclass(frozen=True, slots=True)
class HeldOutLoss:
    """Mean negative log-likelihood per trained token.

    Attributes:
        loss: over all held-out rows.
        by_source: over those of each data set, where there are several.
    """

    loss: float
    by_source: dict[str, float] = field(default_factory=dict[str, float])

    def metrics(self, prefix: str) -> dict[str, float]:
        """As it is logged: `eval_loss`, `eval_perplexity`, and `eval_loss/NAME` for each data set."""
        named = {f"{prefix}_loss/{name}": loss for name, loss in self.by_source.items()}
        return {f"{prefix}_loss": self.loss, f"{prefix}_perplexity": math.exp(min(self.loss, 700.0)), **named}


def held_out_loss(
    model: nn.Module,
    sources: Mapping[str, Iterable[Mapping[str, Any]]],
    summed: SummedLoss,
    accelerator: Accelerator,
    *,
    shared: bool = False,
) -> HeldOutLoss:
    """Loss over all batches of all processes.

    Every token counts what the data say, 1 by default, however long its sample and however full its batch.

    Args:
        model: bare or with an adapter; it is in the mode it was in afterwards.
        sources: this process's share of the batches of each data set; see `sft_train.trainer.rows.to_tensors`.
        summed: the loss of a batch; see `sft_train.loss.summed_loss`.
        accelerator: gives the number format, and adds up over processes.
        shared: processes share rows, so that none can look for itself where a value is not finite.

    Raises:
        TrainingError: the loss is not a number.
    """
    training = model.training
    model.eval()
    sums, cause = torch.zeros(len(sources), 2, dtype=torch.float64), ""
    together = shared or accelerator.distributed_type in TOGETHER
    with torch.no_grad(), accelerator.autocast():
        for number, (place, batch) in enumerate(_placed(sources)):
            part = float(summed(model, batch))
            if not (cause or together or math.isfinite(part)):
                found = first_not_finite(model, partial(summed, model, batch))
                cause = f": first in batch {number + 1} of this process, in {found or 'the loss'}"
            sums[place] += torch.tensor([part, total_weight(batch)], dtype=torch.float64)
    model.train(training)
    if accelerator.num_processes > 1:
        sums = accelerator.reduce(sums.to(accelerator.device), "sum").cpu()
    nll, weight = sums.sum(0).tolist()
    loss = nll / weight
    if not math.isfinite(loss):
        fix = "check the model: it gives this loss on held-out rows as it is now"
        raise TrainingError(f"the held-out loss is {loss}{cause}", fix=fix)
    if len(sources) == 1:
        return HeldOutLoss(loss)
    each = zip(sources, sums.tolist(), strict=True)
    return HeldOutLoss(loss, {name: nll / weight for name, (nll, weight) in each if weight})


def _placed(sources: Mapping[str, Iterable[Mapping[str, Any]]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return ((place, batch) for place, batches in enumerate(sources.values()) for batch in batches)
