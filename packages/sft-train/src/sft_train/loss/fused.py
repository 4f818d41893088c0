"""The same loss by `sft_kernels.linear_cross_entropy`, which needs the head's weights and not its layer.

It runs in the place of the head, so that the weights are where a wrapped model has brought them:

    hidden [k, width], weight [vocabulary, width] -> summed nll, and both gradients with it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from peft.tuners.lora import Linear as LoraLinear
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from sft_kernels import HeadLora, linear_cross_entropy
from sft_train.loss.chunked import Head, at_head
from sft_train.loss.next_token import ForwardCall, Note


class Parts(NamedTuple):
    """A head that is a matrix product.

    Attributes:
        linear: the layer, or what an adapter has in its place.
        lora: the adapter on it, and its name.
    """

    linear: nn.Linear
    lora: tuple[Any, str] | None = None

    def adapter(self, hidden: Tensor) -> HeadLora | None:
        """The low-rank addition for hidden states `[k, width]`, after the adapter's dropout."""
        if self.lora is None:
            return None
        layer, name = self.lora
        a, b, dropout = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.lora_dropout[name]
        return HeadLora(a, b, layer.scaling[name], None if isinstance(dropout, nn.Identity) else dropout(hidden))


def parts_of(layer: nn.Module) -> Parts | None:
    """The weights of a head; None for any that computes something else or more than is known here."""
    if isinstance(layer, ModulesToSaveWrapper):
        if layer.disable_adapters or len(layer.active_adapters) != 1:
            return None
        layer = layer.modules_to_save[layer.active_adapters[0]]
    if not isinstance(layer, LoraLinear):
        return Parts(layer) if _plain(layer) else None
    base = layer.get_base_layer()
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1 or not _plain(base):
        return None
    (name,) = layer.active_adapters
    if name not in layer.lora_A or name in layer.lora_variant or layer.lora_B[name].bias is not None:
        return None
    if not layer.lora_A[name].weight.dtype == layer.lora_B[name].weight.dtype == base.weight.dtype:
        return None  # the adapter computes in a format of its own
    return Parts(base, (layer, name))


def _plain(layer: nn.Module) -> bool:
    """Whether its forward is that of a linear layer: no subclass (quantised ones are), no hook, no other forward."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    return type(layer) is nn.Linear and layer.weight.is_floating_point() and not hooked


def fused_nll(
    model: nn.Module,
    batch: Mapping[str, Any],
    call: ForwardCall,
    *,
    head: tuple[Head, Parts],
    chunks: int | None = None,
    note: Note | None = None,
) -> Tensor:
    """Summed negative log-likelihood of a micro batch's trained tokens; equals `next_token_nll`.

    Args:
        model: possibly wrapped for several processes.
        batch: as for `next_token_nll`.
        call: see `forward_call`.
        head: see `head_of`, and the parts of its layer, see `parts_of`.
        chunks: parts whose logits are computed at a time; None for as few as fit a budget of bytes.
        note: see there.

    Returns:
        float32 scalar, float64 from such logits.
    """
    targets: Tensor = batch["targets"]
    whole, parts = head

    def nll(hidden: Tensor) -> Tensor:
        found = linear_cross_entropy(
            hidden,
            parts.linear.weight,
            targets,
            parts.linear.bias,
            lora=parts.adapter(hidden),
            token_weight=batch.get("target_weights"),
            reduction="sum",
            softcap=whole.softcap,
            logit_scale=whole.scale,
            n_valid=targets.numel(),
            chunk_tokens=None if chunks is None else max(1, -(-targets.numel() // chunks)),
            return_logprobs=note is not None,
        )
        if isinstance(found, Tensor):
            return found
        assert note is not None
        note(-found[1], batch)
        return found[0]

    loss, logits = at_head(model, batch, call, whole.layer, nll)
    # The sum over no rows is zero. It ties the loss to what the model returned, which wrapped models rely on.
    return loss + logits.sum()
