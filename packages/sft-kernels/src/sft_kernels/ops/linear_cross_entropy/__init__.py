"""Hidden states and a head's weights to the cross entropy, without the logits of all tokens at once."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sft_kernels import dispatch
from sft_kernels.launch import accumulator
from sft_kernels.ops.cross_entropy import check_loss, check_settings
from sft_kernels.ops.cross_entropy.statistics import Part, Reduction, coded, divided, reduced, token_losses
from sft_kernels.ops.linear_cross_entropy.function import SummedLoss, TokenStatistics
from sft_kernels.ops.linear_cross_entropy.settings import Operands, Settings, fake_gradients
from sft_kernels.ops.linear_cross_entropy.shard import VocabShard
from sft_kernels.registration import RawOp, autocast_inputs, define

__all__ = ["HeadLora", "VocabShard", "linear_cross_entropy", "linear_logprobs"]

HELD = 1 / 16
"""Part of a GPU's memory that gradients may take while they wait for the backward pass."""


class HeadLora(NamedTuple):
    """A low-rank addition to the head's weights: logits gain ``scaling * hidden @ a.T @ b.T``.

    Attributes:
        a: ``[r, H]``.
        b: ``[V, r]``.
        scaling: alpha / r, usually.
        hidden: ``[N, H]``, what `a` is applied to where it is not the head's input (after dropout); None: the same.
    """

    a: Tensor
    b: Tensor
    scaling: float
    hidden: Tensor | None = None


def linear_cross_entropy(  # noqa: PLR0913
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    lora: HeadLora | None = None,
    token_weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    num_items: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    return_logprobs: bool = False,
    return_entropy: bool = False,
    n_valid: int | None = None,
    shard: VocabShard | None = None,
    recompute: bool | None = None,
    chunk_tokens: int | None = None,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """`cross_entropy` of ``hidden @ weight.T + bias``, with the logits of a chunk of tokens at a time.

    Tokens that are ignored cost nothing. The gradients are exact. For a scalar loss they are computed in the forward
    pass, with three matrix products (two where the weight is frozen), and wait for their factor; in place of that,
    `recompute` computes the logits again in the backward pass: four products, and nothing waits.

    Args:
        hidden: ``[N, H]``, float64, float32, bfloat16 or float16, of any strides.
        weight: ``[V, H]``, of the dtype of `hidden`, as are all other operands (autocast casts them, as it does for
            ``torch.nn.functional.linear``). It may be tied to an embedding.
        target: int64 ``[N]``; see `cross_entropy`.
        bias: ``[V]``.
        lora: a low-rank addition to the weights; it is never multiplied out.
        token_weight: as all other arguments up to `logit_scale`, see `cross_entropy`.
        ignore_index: see `cross_entropy`.
        reduction: see `cross_entropy`.
        num_items: see `cross_entropy`. With data or context parallelism, the number over all processes: the sum of
            their losses is then the loss.
        label_smoothing: see `cross_entropy`.
        z_loss: see `cross_entropy`.
        softcap: see `cross_entropy`.
        logit_scale: see `cross_entropy`.
        return_logprobs: also return the logarithm of each target's probability, for reading: without a gradient.
        return_entropy: also return the entropy of each prediction, likewise.
        n_valid: how many targets are not ignored. Without it, counting them is a host sync on a GPU, the only one; a
            wrong number gives NaN (an error on the CPU).
        shard: this process has the weights (and bias, and `b`) of a part of the vocabulary. Loss and the gradient
            of `hidden` are then the same in all processes.
        recompute: None chooses: yes where the loss is not a scalar, or the vocabulary is split, or the gradients
            would take more than a sixteenth of the GPU's memory.
        chunk_tokens: tokens in a chunk; None takes those whose logits fill 1 GiB (on the CPU 128 MiB).
        backend: ``"triton"``, ``"torch"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`, with hidden,
            weight and target).

    Returns:
        The loss, a scalar or ``[N]``, float32 (float64 for such operands); with `return_logprobs` or `return_entropy`
        a tuple of it and of each, ``[N]``. All are 0 at ignored tokens, as is the loss without any target.

    Differentiable once, in all operands; deterministic.

    Raises:
        ValueError: as `cross_entropy`, or dtypes that differ.
    """
    check_loss("linear_cross_entropy", token_weight, target, reduction, num_items)
    check_settings("linear_cross_entropy", label_smoothing, softcap)
    operands, codes, part = _prepared(hidden, weight, target, bias, lora, ignore_index, shard)
    how = Settings(
        logit_scale, softcap or 0.0, label_smoothing, z_loss, part.vocabulary, return_entropy, n_valid, chunk_tokens
    )
    chosen = dispatch.choose("linear_cross_entropy", backend, operands.x, operands.weight, codes)
    if reduction == "none" or shard is not None or _recomputes(recompute, operands, token_weight):
        rows = TokenStatistics.apply(*operands, codes, how, chosen, shard)
        losses = token_losses(rows, label_smoothing, z_loss, part.vocabulary)
        loss = reduced(losses, token_weight, codes, reduction, num_items)
    else:
        total, rows = SummedLoss.apply(*operands, codes, token_weight, how, chosen)
        loss = divided(total, token_weight, codes, num_items) if reduction == "mean" else total
    if not (return_logprobs or return_entropy):
        return loss
    logprobs, _, _, entropy = rows.detach().unbind()
    return loss, *((logprobs,) if return_logprobs else ()), *((entropy,) if return_entropy else ())


def linear_logprobs(  # noqa: PLR0913
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    *,
    lora: HeadLora | None = None,
    ignore_index: int = -100,
    return_entropy: bool = False,
    n_valid: int | None = None,
    shard: VocabShard | None = None,
    chunk_tokens: int | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The logarithm of each target's probability under a head, at a temperature, and the entropy of each prediction.

    Args:
        hidden: as all other arguments, see `linear_cross_entropy`.
        weight: see there.
        target: see there.
        temperature: divides the logits; above 0.
        bias: see there.
        lora: see there.
        ignore_index: tokens with this target get 0 and no gradient.
        return_entropy: whether to compute the entropy; it is differentiable too.
        n_valid: see there.
        shard: see there.
        chunk_tokens: see there.
        backend: see there.

    Returns:
        ``(logprobs [N], entropy [N] or None)``, float32 (float64 for such operands). The logits are computed again in
        the backward pass.

    Raises:
        ValueError: as `linear_cross_entropy`, or a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"linear_logprobs: temperature is {temperature}; it has to be above 0")
    check_loss("linear_logprobs", None, target, "none", None)
    operands, codes, part = _prepared(hidden, weight, target, bias, lora, ignore_index, shard)
    how = Settings(1 / temperature, 0.0, 0.0, 0.0, part.vocabulary, return_entropy, n_valid, chunk_tokens)
    chosen = dispatch.choose("linear_cross_entropy", backend, operands.x, operands.weight, codes)
    logprobs, _, _, entropy = TokenStatistics.apply(*operands, codes, how, chosen, shard).unbind()
    return logprobs, entropy if return_entropy else None


def _prepared(  # noqa: PLR0913
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    lora: HeadLora | None,
    ignore_index: int,
    shard: VocabShard | None,
) -> tuple[Operands, Tensor, Part]:
    """Operands of one dtype, coded targets, and which part of the vocabulary they are about."""
    low_x = low_weight = None
    dispatch.refuse_sharded("linear_cross_entropy", hidden, weight, target, bias, *(() if lora is None else lora))
    if lora is not None:
        seen = hidden if lora.hidden is None else lora.hidden
        low_x, low_weight = torch.nn.functional.linear(seen, lora.a) * lora.scaling, lora.b
    operands = Operands(*autocast_inputs(hidden, weight, low_x, low_weight, bias))  # pyright: ignore[reportArgumentType]
    _check(operands, target)
    size = weight.shape[0]
    part = Part(0, size, size) if shard is None else Part(shard.start, size, shard.vocabulary)
    return operands, coded(target, ignore_index, part), part


def _check(operands: Operands, target: Tensor) -> None:
    x, weight, low_x, low_weight, bias = operands
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or target.shape != x.shape[:1]:
        given = f"hidden is {list(x.shape)}, weight {list(weight.shape)}, target {list(target.shape)}"
        raise ValueError(f"linear_cross_entropy: {given}; they have to be [N, H], [V, H] and [N]")
    if bias is not None and bias.shape != weight.shape[:1]:
        given = f"bias is {list(bias.shape)} and weight {list(weight.shape)}"
        raise ValueError(f"linear_cross_entropy: {given}; they have to be [V] and [V, H]")
    if low_x is not None and low_weight is not None and low_weight.shape != (weight.shape[0], low_x.shape[1]):
        given = f"b of lora is {list(low_weight.shape)}, for a of {low_x.shape[1]} rows and weight {list(weight.shape)}"
        raise ValueError(f"linear_cross_entropy: {given}; it has to be [V, r]")
    for name, other in zip(Operands._fields, operands, strict=True):
        if other is not None and (other.dtype != x.dtype or other.device != x.device):
            given = f"{name} is {other.dtype} on {other.device} and hidden {x.dtype} on {x.device}"
            raise ValueError(f"linear_cross_entropy: {given}; make them the same, or use autocast")


def _recomputes(asked: bool | None, operands: Operands, token_weight: Tensor | None) -> bool:
    """Whether gradients are left to the backward pass, or there is none."""
    if not torch.is_grad_enabled():
        return True
    if token_weight is not None and token_weight.requires_grad:
        return True
    if asked is not None or operands.x.device.type != "cuda":
        return bool(asked)
    waiting = sum(each.numel() * each.element_size() for each in operands if each is not None and each.requires_grad)
    return waiting > HELD * torch.cuda.get_device_properties(operands.x.device).total_memory


def _triton_reason(x: Tensor, weight: Tensor, target: Tensor) -> str | None:
    return dispatch.triton_reason(x, weight, target)


def _never(*_: Any) -> None:
    """Plain PyTorch runs everywhere."""


def _fake_forward(*args: Any) -> tuple[Tensor, ...]:
    operands, needs = Operands(*args[:5]), args[7]
    x = operands.x
    return x.new_empty(4, x.shape[0], dtype=accumulator(x.dtype)), *fake_gradients(operands, needs)


def _fake_backward(*args: Any) -> tuple[Tensor, ...]:
    return tuple(fake_gradients(Operands(*args[:5]), args[8]))


_OPERANDS = "Tensor x, Tensor weight, Tensor? low_x, Tensor? low_weight, Tensor? bias, Tensor target"
_SETTINGS = (
    "float scale, float softcap, float smoothing, float z_loss, SymInt vocabulary, bool entropy, SymInt? n_valid,"
    " SymInt? chunk_tokens"
)
_GRADIENTS = "Tensor dx, Tensor dweight, Tensor dlow_x, Tensor dlow_weight, Tensor dbias"
define(
    "linear_cross_entropy",
    RawOp(
        "forward",
        f"({_OPERANDS}, Tensor? token_weight, bool[] needs, {_SETTINGS}) -> (Tensor statistics, {_GRADIENTS})",
        _fake_forward,
    ),
    RawOp(
        "backward",
        f"({_OPERANDS}, Tensor statistics, Tensor slopes, bool[] needs, {_SETTINGS}) -> ({_GRADIENTS})",
        _fake_backward,
    ),
)
dispatch.add(
    "linear_cross_entropy",
    dispatch.Implementation("triton", _triton_reason, "sft_kernels.ops.linear_cross_entropy.with_triton"),
    dispatch.Implementation("torch", _never, "sft_kernels.ops.linear_cross_entropy.with_torch"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.linear_cross_entropy.reference"),
)
