"""The same loss with the logits of a part of the tokens at a time.

The logits of k tokens take k x vocabulary numbers, often more than all other activations together. Here the model
runs with nothing to do for its head; the head is then called on the tokens of one part after another, and again in
the backward pass, so that the logits of one part exist at a time:

    hidden [k, width] -> parts [k / n, width] -> head -> [k / n, vocabulary] -> nll, summed up

The head is the model's own layer: a bias, an adapter on it, or weights shared with the embedding work as they do
without parts. What a few models do to the logits afterwards is repeated from their config; `check_head` compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sft_schema import ConfigError, Issue
from sft_train.compute import holds_halves
from sft_train.loss.next_token import ForwardCall, forward_inputs, logits_at, summed_nll

Result = TypeVar("Result")

_TOLERANCE, _HALF_TOLERANCE = 1e-3, 3e-2
"""Largest difference of logits allowed, as a part of the largest; the second where weights are held in bfloat16.
Rounding gives 1e-6 and about 1e-2, a forgotten cap 0.1 and more."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last layer of a model and what its forward does to the logits.

    Attributes:
        layer: from hidden states to logits.
        softcap: logits become softcap x tanh(logits / softcap); None for no cap.
        scale: logits are multiplied by it before.
    """

    layer: nn.Module
    softcap: float | None = None
    scale: float = 1.0

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits `[n, vocabulary]` of hidden states `[n, width]`, in the dtype that the layer computes in."""
        logits = self.layer(hidden)
        logits = logits if self.scale == 1.0 else logits * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


def head_of(model: nn.Module) -> Head:
    """The head of a causal language model, bare or with an adapter around it.

    Raises:
        ConfigError: it has none.
    """
    bare: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    layer: nn.Module | None = bare.get_output_embeddings()
    if layer is None:
        raise _refused(f"{type(bare).__name__} has no head that can be called by itself")
    config = bare.config.get_text_config()
    scale: float = getattr(config, "logit_scale", None) or 1.0  # Cohere
    scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
    return Head(layer, getattr(config, "final_logit_softcapping", None), scale)  # Gemma


def check_head(model: nn.Module, head: Head, call: ForwardCall) -> None:
    """Refuses a model whose forward does to the logits what `head` does not.

    Args:
        model: bare or with an adapter, on its device.
        head: see `head_of`.
        call: see `forward_call`.

    Raises:
        ConfigError: with the difference found.
    """
    embedding: Any = model.get_input_embeddings()
    ids = torch.arange(1, 9, device=embedding.weight.device) * 7 % embedding.weight.shape[0]
    places = torch.arange(8, device=ids.device)
    batch = {
        "input_ids": ids[None],
        "position_ids": places[None],
        "predict_at": places,
        "cu_seqlens": torch.tensor([0, 8], device=ids.device, dtype=torch.int32),
        "max_seqlen": 8,
    }
    training, halves = model.training, holds_halves(model)
    model.eval()
    with torch.no_grad():
        # Attention in a half format (flash) needs to be computed in it; it is the same on both sides.
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=call.varlen or halves):
            wanted = logits_at(model, batch, call)
            found = head(hidden_at(model, batch, call, head.layer).hidden)
        difference = float((found.float() - wanted.float()).abs().max() / wanted.float().abs().max())
    model.train(training)
    if not difference <= (_HALF_TOLERANCE if halves else _TOLERANCE):
        what = f"outputs computed in parts differ by {difference:.2g} of the largest"
        raise _refused(f"{type(model).__name__} does something to its logits that is not known here: {what}")


@dataclass(frozen=True, slots=True)
class Hidden:
    """What reaches the head.

    Attributes:
        hidden: `[k, width]`, at the positions whose next token is trained.
        autocast: the number format that the head would have computed in.
    """

    hidden: Tensor
    autocast: tuple[bool, torch.dtype]

    def format(self) -> AbstractContextManager[None]:
        """A context in which the head computes as it would have done."""
        enabled, dtype = self.autocast
        return torch.autocast(self.hidden.device.type, dtype, enabled=enabled)


def at_head(
    model: nn.Module, batch: Mapping[str, Any], call: ForwardCall, layer: nn.Module, do: Callable[[Tensor], Result]
) -> tuple[Result, Tensor]:
    """Runs a model, with a function in the place of its head, which is handed no rows.

    Args:
        model: possibly wrapped for several processes.
        batch: as for `logits_at`.
        call: see `forward_call`.
        layer: the head's layer.
        do: called within the head, where its weights are at hand and autocast is as for it, with hidden states
            `[k, width]` at the positions whose next token is trained.

    Returns:
        What `do` returned, and the model's logits, which have no rows.
    """
    done: list[Result] = []

    def instead(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden: Tensor = args[0]
        done.append(do(hidden[0] if call.logits_to_keep else hidden[0, batch["predict_at"]]))
        return (hidden[..., :0, :], *args[1:])

    handle = layer.register_forward_pre_hook(instead)
    try:
        logits: Tensor = model(**forward_inputs(batch, call)).logits
    finally:
        handle.remove()
    (found,) = done
    return found, logits


def hidden_at(model: nn.Module, batch: Mapping[str, Any], call: ForwardCall, layer: nn.Module) -> Hidden:
    """Runs a model up to its head; see `at_head`."""

    def catch(hidden: Tensor) -> Hidden:
        device = hidden.device.type
        return Hidden(hidden, (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)))

    return at_head(model, batch, call, layer, catch)[0]


def chunked_nll(model: nn.Module, batch: Mapping[str, Any], call: ForwardCall, *, head: Head, chunks: int) -> Tensor:
    """Summed negative log-likelihood of a micro batch's trained tokens; equals `next_token_nll`.

    Args:
        model: possibly wrapped for several processes.
        batch: as for `next_token_nll`.
        call: see `forward_call`.
        head: see `head_of`.
        chunks: parts of as equal size as can be.

    Returns:
        float32 scalar.
    """
    found = hidden_at(model, batch, call, head.layer)

    def nll(hidden: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        with found.format():
            logits = head(hidden)
        return summed_nll(logits, targets, weights)

    hidden = found.hidden.chunk(chunks)
    weights = batch["target_weights"].chunk(chunks) if "target_weights" in batch else [None] * len(hidden)
    total = found.hidden.new_zeros((), dtype=torch.float32)
    for part in zip(hidden, batch["targets"].chunk(chunks), weights, strict=True):
        total = total + checkpoint(nll, *part, use_reentrant=False)
    return total


def _refused(message: str) -> ConfigError:
    fix = "remove `chunked_cross_entropy` (or `cut_cross_entropy` and its plugin)"
    return ConfigError([Issue("loss_not_in_parts", ("chunked_cross_entropy",), message, fix)])
