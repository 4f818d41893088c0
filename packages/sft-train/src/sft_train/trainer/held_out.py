"""Loss on held-out rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from sft_schema import TrainingError
from sft_train.loss import SummedLoss, total_weight
from sft_train.trainer.not_finite import TOGETHER, first_not_finite


def held_out_loss(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    summed: SummedLoss,
    accelerator: Accelerator,
    *,
    shared: bool = False,
) -> float:
    """Mean negative log-likelihood per trained token, over all batches of all processes.

    Every token counts what the data say, 1 by default, however long its sample and however full its batch.

    Args:
        model: bare or with an adapter; it is in the mode it was in afterwards.
        batches: this process's share; see `sft_train.trainer.rows.to_tensors`.
        summed: the loss of a batch; see `sft_train.loss.summed_loss`.
        accelerator: gives the number format, and adds up over processes.
        shared: processes share rows, so that none can look for itself where a value is not finite.

    Raises:
        TrainingError: the loss is not a number.
    """
    training = model.training
    model.eval()
    nll, weight, cause = 0.0, 0.0, ""
    together = shared or accelerator.distributed_type in TOGETHER
    with torch.no_grad(), accelerator.autocast():
        for number, batch in enumerate(batches):
            part = float(summed(model, batch))
            if not (cause or together or math.isfinite(part)):
                found = first_not_finite(model, partial(summed, model, batch))
                cause = f": first in batch {number + 1} of this process, in {found or 'the loss'}"
            nll += part
            weight += total_weight(batch)
    model.train(training)
    if accelerator.num_processes > 1:
        both = torch.tensor([nll, weight], dtype=torch.float64, device=accelerator.device)
        nll, weight = accelerator.reduce(both, "sum").tolist()
    loss = nll / weight
    if not math.isfinite(loss):
        fix = "check the model: it gives this loss on held-out rows as it is now"
        raise TrainingError(f"the held-out loss is {loss}{cause}", fix=fix)
    return loss
