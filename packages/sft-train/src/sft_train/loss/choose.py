"""Which form of the loss a config asks for. All of them give the same number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from sft_schema import ConfigError
from sft_schema.config import LossSection
from sft_train.loss.chunked import Head, check_head, chunked_nll, head_of
from sft_train.loss.fused import fused_nll, parts_of
from sft_train.loss.next_token import ForwardCall, Note, next_token_nll

SummedLoss = Callable[[nn.Module, Mapping[str, Any]], Tensor]
"""Model and batch to the summed negative log-likelihood of its trained tokens; see `next_token_nll`."""


def summed_loss(
    model: nn.Module, cfg: LossSection, call: ForwardCall, *, compiled: bool = False, note: Note | None = None
) -> SummedLoss:
    """The loss of a config: from the head's weights where that is possible, else from its logits.

    Args:
        model: bare or with an adapter, on its device.
        cfg: whether the logits must be computed in parts.
        call: see `forward_call`.
        compiled: the model will be, and then nothing can take the place of its head.
        note: is told the loss of each token; not where a head that is more than its weights runs in parts.

    Raises:
        ConfigError: this model's logits cannot be computed in parts, and must.
    """
    named = bool(cfg.plugins) if cfg.cut_cross_entropy is None else cfg.cut_cross_entropy
    chunks = cfg.chunked_cross_entropy_num_chunks if cfg.chunked_cross_entropy or named else None
    if chunks is not None:
        head = head_of(model)
        check_head(model, head, call)
    else:
        head = None if compiled else _known_head(model, call)
    parts = None if head is None else parts_of(head.layer)
    if head is not None and parts is not None:
        return partial(fused_nll, call=call, head=(head, parts), chunks=chunks, note=note)
    if head is not None and chunks is not None:
        return partial(chunked_nll, call=call, head=head, chunks=chunks)
    return partial(next_token_nll, call=call, note=note)


def _known_head(model: nn.Module, call: ForwardCall) -> Head | None:
    """The head, where all that the model does to its logits is known."""
    try:
        head = head_of(model)
        check_head(model, head, call)
    except ConfigError:
        return None
    return head
