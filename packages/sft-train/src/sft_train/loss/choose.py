"""Which form of the loss a config asks for. All of them give the same number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from sft_schema.config import LossSection
from sft_train.loss.chunked import check_head, chunked_nll, head_of
from sft_train.loss.next_token import ForwardCall, next_token_nll

SummedLoss = Callable[[nn.Module, Mapping[str, Any]], Tensor]
"""Model and batch to the summed negative log-likelihood of its trained tokens; see `next_token_nll`."""


def summed_loss(model: nn.Module, cfg: LossSection, call: ForwardCall) -> SummedLoss:
    """The loss of a config.

    Args:
        model: bare or with an adapter, on its device.
        cfg: whether the logits are computed in parts.
        call: see `forward_call`.

    Raises:
        ConfigError: this model's logits cannot be computed in parts.
    """
    named = bool(cfg.plugins) if cfg.cut_cross_entropy is None else cfg.cut_cross_entropy
    if not (cfg.chunked_cross_entropy or named):
        return partial(next_token_nll, call=call)
    head = head_of(model)
    check_head(model, head, call)
    return partial(chunked_nll, call=call, head=head, chunks=cfg.chunked_cross_entropy_num_chunks)
