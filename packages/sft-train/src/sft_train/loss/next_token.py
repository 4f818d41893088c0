"""Next-token loss, summed over trained tokens.

The loss of an optimizer step is the mean over all trained tokens of all its micro batches on all processes:

    loss = sum of weight x -log p(token | tokens before it in its sample) / sum of weights

so it does not depend on how the same samples are cut into micro batches. A token's weight is 1 where the data say
nothing else. This module gives the sum over one micro batch; the trainer divides it by the weights of the whole step.

Labels are unshifted, the model's output at position p predicts the token at p + 1. Only the positions that
predict a trained token go through the model's head:

    token       a0  a1  a2  a3 | b0  b1  b2
    label        .   .  a2  a3 |  .  b1  b2       "." is IGNORE_INDEX; the first of every sample is
    predict_at      a1  a2       b0  b1           positions 1, 2, 4, 5
    targets         a2  a3       b1  b2
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sft_kernels.context_parallel import ContextLayout, ContextParallel
from sft_schema import BACKENDS, ConfigError, Issue


@dataclass(frozen=True, slots=True)
class ForwardCall:
    """What a model's forward is given besides tokens and positions.

    Attributes:
        logits_to_keep: the forward takes the positions whose logits are wanted.
        varlen: the attention takes the samples' boundaries (`cu_seq_lens_q` and so on).
        context: makes the way of a batch with a `layout`, which several processes share, through attention.
    """

    logits_to_keep: bool
    varlen: bool
    context: Callable[[ContextLayout], ContextParallel] | None = None


def forward_call(model: nn.Module, attn_implementation: str) -> ForwardCall:
    """How to call `model`, read once off the signature of its forward.

    Args:
        model: a causal language model, bare or with an adapter around it.
        attn_implementation: its attention backend, a row of `sft_schema.BACKENDS`.

    Raises:
        ConfigError: the backend needs the samples' boundaries and the forward does not pass them on.
    """
    bare: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    parameters = inspect.signature(bare.forward).parameters
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    varlen = BACKENDS[attn_implementation].isolation == "varlen"
    if varlen and not open_ended and "cu_seq_lens_q" not in parameters:
        message = f"{type(bare).__name__} does not hand sample boundaries to {attn_implementation}"
        fix = "set `attn_implementation: sdpa`"
        raise ConfigError([Issue("boundaries_not_taken", ("attn_implementation",), message, fix)])
    return ForwardCall("logits_to_keep" in parameters, varlen)


def logits_at(model: nn.Module, batch: Mapping[str, Any], call: ForwardCall) -> Tensor:
    """The model's outputs at the positions `predict_at`.

    No attention mask and no cache are passed: that is what makes transformers build the block-diagonal mask
    from `position_ids` (a mask of ones, or a cache, would let packed samples see one another).

    Args:
        model: the model, possibly wrapped for several processes.
        batch: `input_ids` and `position_ids` int64 `[1, t]`; `predict_at` int64 `[k]`; `cu_seqlens` int32
            `[n + 1]`, `max_seqlen` int; or in place of the last two, where processes share the row, its `layout`.
        call: see `forward_call`.

    Returns:
        `[k, vocabulary]` in the dtype that the head computes in.
    """
    output = model(**forward_inputs(batch, call))
    return output.logits[0] if call.logits_to_keep else output.logits[0, batch["predict_at"]]


def forward_inputs(batch: Mapping[str, Any], call: ForwardCall) -> dict[str, Any]:
    """Arguments of a model's forward for a batch; see `logits_at`."""
    wanted = batch["predict_at"]
    extra: dict[str, Any] = {"logits_to_keep": wanted} if call.logits_to_keep else {}
    if "layout" in batch:
        assert call.context is not None, "a part of a row alone would be computed as if it were all of it"
        extra["context_parallel"] = call.context(batch["layout"])
    elif call.varlen:
        extra |= {
            "cu_seq_lens_q": batch["cu_seqlens"],
            "cu_seq_lens_k": batch["cu_seqlens"],
            "max_length_q": batch["max_seqlen"],
            "max_length_k": batch["max_seqlen"],
        }
    return {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"], "use_cache": False, **extra}


Note = Callable[[Tensor, Mapping[str, Any]], None]
"""Is told the negative log-likelihood of each trained token of a batch, `[k]`, for reading."""


def next_token_nll(
    model: nn.Module, batch: Mapping[str, Any], call: ForwardCall, *, note: Note | None = None
) -> Tensor:
    """Summed negative log-likelihood of a micro batch's trained tokens.

    Args:
        model: as for `logits_at`.
        batch: as for `logits_at`, and `targets` int64 `[k]`: the tokens after `predict_at`; it may have
            `target_weights` float32 `[k]`.
        call: see `forward_call`.
        note: see there.

    Returns:
        float32 scalar. With k = 0 it is 0 and its gradients are zeros: every weight stays in the graph, which
        processes that train together rely on.
    """
    logits = logits_at(model, batch, call)
    if note is not None:
        note(functional.cross_entropy(logits.detach().float(), batch["targets"], reduction="none"), batch)
    return summed_nll(logits, batch["targets"], batch.get("target_weights"))


def summed_nll(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Summed negative log-likelihood of tokens.

    Args:
        logits: `[k, vocabulary]`.
        targets: int64 `[k]`.
        weights: float32 `[k]`; None when each token counts 1.

    Returns:
        Scalar, float32 or, from such logits, float64: in bfloat16 the log of a sum over a large vocabulary would keep
        two digits.
    """
    exact = logits if logits.dtype == torch.float64 else logits.float()
    with torch.autocast(logits.device.type, enabled=False):
        if weights is None:
            return functional.cross_entropy(exact, targets, reduction="sum")
        return (functional.cross_entropy(exact, targets, reduction="none") * weights).sum()


def total_weight(batch: Mapping[str, Any]) -> float:
    """What the trained tokens of a batch count together: their number, where the data give no weights."""
    weights = batch.get("target_weights")
    return batch["targets"].numel() if weights is None else float(weights.sum(dtype=torch.float64))
