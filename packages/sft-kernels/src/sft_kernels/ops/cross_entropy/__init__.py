"""Cross entropy of logits, with per-token weights, z-loss, label smoothing, softcap and a denominator from outside.

z-loss: Chowdhery et al., "PaLM" (arXiv:2204.02311), section 5. Label smoothing: Szegedy et al. (arXiv:1512.00567).
Softcap: Gemma 2 (arXiv:2408.00118).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.launch import accumulator
from sft_kernels.ops.cross_entropy.statistics import Part, Reduction, coded, reduced, slopes, token_losses
from sft_kernels.registration import RawOp, define

__all__ = ["check_loss", "cross_entropy"]


def cross_entropy(  # noqa: PLR0913
    logits: Tensor,
    target: Tensor,
    *,
    token_weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    num_items: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    backend: str | None = None,
) -> Tensor:
    """The cross entropy of logits with one target each.

    With ``z = softcap * tanh(logit_scale * logits / softcap)`` (without a softcap: ``logit_scale * logits``), the loss
    of a token is ``(1 - s) * (lse - z[target]) + s * mean(lse - z) + z_loss * lse**2``, where ``lse = logsumexp(z)``.

    Args:
        logits: ``[N, V]``, float64, float32, bfloat16 or float16, of any strides. They are never written to.
        target: int64 ``[N]``. On the CPU an id outside the vocabulary is an error; on a GPU, where reading it would
            wait for the device, its loss is NaN.
        token_weight: ``[N]``, multiplies the losses; differentiable.
        ignore_index: tokens with this target have no loss and no gradient.
        reduction: "mean" (over the weights of the tokens that are not ignored), "sum", or "none" for ``[N]``.
        num_items: what "mean" divides by instead: the tokens of all micro batches and processes. A scalar on the
            device, which is not waited for, or a number. Zero counts as one.
        label_smoothing: s, from 0 up to but without 1.
        z_loss: factor of the squared lse.
        softcap: None for no cap.
        logit_scale: multiplies the logits first.
        backend: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`, with logits and target).

    Returns:
        A scalar, or ``[N]``; float32, or float64 for such logits. It is 0, with zero gradients, without any target.

    Differentiable once; deterministic; no host sync on a GPU. Keeps the logits for the backward pass.

    Raises:
        ValueError: shapes, devices or settings that do not fit, a target outside the vocabulary (on the CPU), or a
            backend that cannot run here.
    """
    check_loss("cross_entropy", token_weight, target, reduction, num_items)
    if logits.ndim != 2 or target.shape != logits.shape[:1] or not logits.is_floating_point():
        shapes = f"logits are {logits.dtype} {list(logits.shape)} and target {list(target.shape)}"
        raise ValueError(f"cross_entropy: {shapes}; they have to be floating-point [N, V] and [N]")
    check_settings("cross_entropy", label_smoothing, softcap)
    vocabulary = logits.shape[1]
    chosen = dispatch.choose("cross_entropy", backend, logits, target)
    codes = coded(target, ignore_index, Part(0, vocabulary, vocabulary))
    rows = _Statistics.apply(logits, codes, logit_scale, softcap or 0.0, label_smoothing > 0, chosen)
    return reduced(token_losses(rows, label_smoothing, z_loss, vocabulary), token_weight, codes, reduction, num_items)


class _Statistics(torch.autograd.Function):
    """Logits ``[N, V]`` and coded targets to statistics ``[4, N]``; that of the entropy is left out."""

    @staticmethod
    def forward(ctx: Any, logits, target, scale, softcap, total, backend):  # noqa: PLR0913
        rows = torch.ops.sft_kernels.cross_entropy_forward(logits, target, scale, softcap, total, False, backend)
        ctx.save_for_backward(logits, target, rows)
        ctx.how = scale, softcap, backend
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by):  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, target, rows = ctx.saved_tensors
        grad = torch.ops.sft_kernels.cross_entropy_backward(logits, target, rows, slopes(rows, by), *ctx.how)
        return grad, None, None, None, None, None


def check_loss(
    op: str, token_weight: Tensor | None, target: Tensor, reduction: str, num_items: Tensor | float | None
) -> None:
    """Refuses what no loss over tokens can be made of; see `cross_entropy`."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{op}: reduction is {reduction!r}; it has to be mean, sum or none")
    if target.ndim != 1 or target.dtype != torch.int64:
        raise ValueError(f"{op}: target is {target.dtype} {list(target.shape)}; it has to be int64 [N]")
    if token_weight is not None and token_weight.shape != target.shape:
        given = f"token_weight is {list(token_weight.shape)} and target {list(target.shape)}"
        raise ValueError(f"{op}: {given}; make them the same")
    if num_items is not None and reduction != "mean":
        raise ValueError(f'{op}: num_items divides with reduction="mean" and not with {reduction!r}; leave one out')
    if isinstance(num_items, Tensor) and num_items.numel() != 1:
        raise ValueError(f"{op}: num_items is {list(num_items.shape)}; it has to be a scalar")


def check_settings(op: str, label_smoothing: float, softcap: float | None) -> None:
    """Refuses settings that have no meaning."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"{op}: label_smoothing is {label_smoothing}; it has to be from 0 up to but without 1")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"{op}: softcap is {softcap}; it has to be above 0, or None for no cap")


def check_targets(op: str, target: Tensor, size: int) -> None:
    """Refuses coded targets on the CPU that are outside the vocabulary; on a GPU they become NaN."""
    if target.device.type == "cpu" and bool((target >= size).any()):
        where = int((target >= size).nonzero()[0, 0])
        raise ValueError(f"{op}: target[{where}] is outside the vocabulary and is not ignore_index; correct the labels")


def _triton_reason(logits: Tensor, target: Tensor) -> str | None:
    return dispatch.triton_reason(logits, target)


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_forward(logits, target, scale, softcap, total, entropy):
    return logits.new_empty(4, logits.shape[0], dtype=accumulator(logits.dtype))


def _fake_backward(logits, target, statistics, slopes, scale, softcap):
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


define(
    "cross_entropy",
    RawOp(
        "forward",
        "(Tensor logits, Tensor target, float scale, float softcap, bool total, bool entropy) -> Tensor",
        _fake_forward,
    ),
    RawOp(
        "backward",
        "(Tensor logits, Tensor target, Tensor statistics, Tensor slopes, float scale, float softcap) -> Tensor",
        _fake_backward,
    ),
)
dispatch.add(
    "cross_entropy",
    dispatch.Implementation("triton", _triton_reason, "sft_kernels.ops.cross_entropy.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.cross_entropy.reference"),
)
