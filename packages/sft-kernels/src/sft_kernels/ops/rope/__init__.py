"""Rotary position embedding, with the angles given per token or gathered from a table in the kernel.

Su et al., "RoFormer" (arXiv:2104.09864). The layout is that of modeling code: element ``i`` of a head is turned
together with element ``i + rotary_dim / 2``, or with `interleaved`, as in the paper, ``2 i`` together with ``2 i + 1``.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sft_kernels import dispatch
from sft_kernels.registration import RawOp, define

__all__ = ["apply_rotary_pos_emb", "rope", "rope_cached"]


def apply_rotary_pos_emb(  # noqa: PLR0913
    q: Tensor,
    k: Tensor,
    cos: Tensor,
    sin: Tensor,
    unsqueeze_dim: int = 1,
    *,
    rotary_dim: int | None = None,
    interleaved: bool = False,
    inplace: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Queries and keys, turned by the angles of their positions; the arguments of transformers' function.

    Products and sums are float32 (float64 for float64 inputs) with one rounding, to the dtype of `q`. Modeling code
    rounds each product, and with float32 angles returns float32.

    Args:
        q: ``[B, H, S, D]``, or ``[B, S, H, D]`` with ``unsqueeze_dim=2``, or packed ``[T, H, D]``. Strides are taken
            as given, as long as a head's elements are next to one another.
        k: as `q`, with heads of its own number.
        cos: ``[B or 1, S, W]``, packed ``[T, W]``, each angle twice; or once, with `rotary_dim` twice ``W``.
        sin: as `cos`.
        unsqueeze_dim: the dimension of heads.
        rotary_dim: how many elements of a head are turned; the others pass through. None is ``W``, and has to be
            said when ``2 W`` is ``D``: half of a head, or angles given once, as GPT-OSS's are.
        interleaved: which elements are turned together; a full-width `cos` then has each angle twice in a row.
        inplace: write into `q` and `k`, and return them. Only when nothing needs their old values.
        backend: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`).

    Returns:
        ``(q', k')``, of the shapes, dtypes and (where they are dense) strides of `q` and `k`.

    Differentiable once, in `q` and `k`; deterministic.
    Of the inputs only `cos` and `sin` are saved.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, angles that need a gradient, or a backend that cannot
            run here.
    """
    how = _How(unsqueeze_dim, interleaved, is_half_width(q, cos, rotary_dim), inplace, backend)
    return _both(q, k, cos, sin, None, how)


def rope(  # noqa: PLR0913
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    unsqueeze_dim: int = 1,
    *,
    rotary_dim: int | None = None,
    interleaved: bool = False,
    inplace: bool = False,
    backend: str | None = None,
) -> Tensor:
    """`apply_rotary_pos_emb` of a single tensor, for models that turn the queries alone.

    Args:
        x: as `q` of `apply_rotary_pos_emb`.
        cos: as there, and `sin`.
        sin: see `cos`.
        unsqueeze_dim: as there.
        rotary_dim: as there.
        interleaved: as there.
        inplace: as there.
        backend: as there.

    Returns:
        A tensor like `x`.

    Raises:
        ValueError: as `apply_rotary_pos_emb`.
    """
    how = _How(unsqueeze_dim, interleaved, is_half_width(x, cos, rotary_dim), inplace, backend)
    return _both(x, None, cos, sin, None, how)[0]


def rope_cached(  # noqa: PLR0913
    q: Tensor,
    k: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor,
    unsqueeze_dim: int = 1,
    *,
    interleaved: bool = False,
    inplace: bool = False,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """`apply_rotary_pos_emb` with the angles of `position_ids`, which the kernel looks up in a table.

    Positions may begin again within a row, as they do in packed rows; no ``[T, D]`` tensor of angles is made.

    Args:
        q: as in `apply_rotary_pos_emb`.
        k: as in `apply_rotary_pos_emb`.
        cos_cache: ``[P, R / 2]``, each angle of the ``R`` turned elements once.
        sin_cache: as `cos_cache`.
        position_ids: int64 or int32 ``[B or 1, S]``, packed ``[T]``. The kernel gives NaN for a position outside the
            table, and the reference raises IndexError on the CPU.
        unsqueeze_dim: as in `apply_rotary_pos_emb`.
        interleaved: as there.
        inplace: as there.
        backend: as there.

    Returns:
        As `apply_rotary_pos_emb`.

    Raises:
        ValueError: as there.
    """
    return _both(q, k, cos_cache, sin_cache, position_ids, _How(unsqueeze_dim, interleaved, True, inplace, backend))


class _How(NamedTuple):
    """Settings of a call."""

    heads: int
    interleaved: bool
    half_width: bool
    inplace: bool
    backend: str | None


def _both(
    q: Tensor, k: Tensor | None, cos: Tensor, sin: Tensor, positions: Tensor | None, how: _How
) -> tuple[Tensor, Tensor]:
    q4, k4 = by_token(q, how.heads), None if k is None else by_token(k, how.heads)
    cos, sin, positions = angles(q4, cos, sin, positions)
    check(q4, k4, (cos, sin), positions, how.half_width)
    chosen = dispatch.choose("rope", how.backend, q4, k4, cos, sin, positions)
    end = (cos, sin, positions, how.interleaved, how.half_width, chosen)
    if how.inplace:  # one by one: autograd lets a function write to one view
        for x in (q4, k4):
            if x is not None:
                _RopeInPlace.apply(x, *end)
        return q, q if k is None else k
    q4, k4 = _Rope.apply(q4, k4, *end)
    return from_token(q4, q, how.heads), k4 if k is None else from_token(k4, k, how.heads)


class _Rope(torch.autograd.Function):
    """Queries and keys; without keys the second output is empty."""

    @staticmethod
    def forward(ctx: Any, q, k, cos, sin, positions, interleaved, half_width, backend):  # noqa: PLR0913
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(cos, sin, positions)
        ctx.how = interleaved, half_width, backend
        out = torch.ops.sft_kernels.rope_rotate(q, k, cos, sin, positions, interleaved, half_width, False, backend)
        if k is None:
            ctx.mark_non_differentiable(out[1])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        interleaved, half_width, backend = ctx.how
        given = [grad for grad, needed in zip(grads, ctx.needs_input_grad, strict=False) if needed and grad is not None]
        if not given:
            return (None,) * 8
        first, second = given[0], given[1] if len(given) > 1 else None
        turned = list(
            torch.ops.sft_kernels.rope_rotate(first, second, *ctx.saved_tensors, interleaved, half_width, True, backend)
        )
        back = [
            turned.pop(0) if needed and grad is not None else None
            for grad, needed in zip(grads, ctx.needs_input_grad, strict=False)
        ]
        return *back, None, None, None, None, None, None


class _RopeInPlace(torch.autograd.Function):
    """One tensor, written to."""

    @staticmethod
    def forward(ctx: Any, x, cos, sin, positions, interleaved, half_width, backend):  # noqa: PLR0913
        ctx.save_for_backward(cos, sin, positions)
        ctx.how = interleaved, half_width, backend
        torch.ops.sft_kernels.rope_rotate_(x, cos, sin, positions, interleaved, half_width, backend)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        interleaved, half_width, backend = ctx.how
        dx, _ = torch.ops.sft_kernels.rope_rotate(
            grad, None, *ctx.saved_tensors, interleaved, half_width, True, backend
        )
        return dx, None, None, None, None, None, None


def is_half_width(x: Tensor, cos: Tensor, rotary_dim: int | None) -> bool:
    """Whether `cos` has each angle once.

    Raises:
        ValueError: that cannot be told, or `rotary_dim` does not fit.
    """
    width = cos.shape[-1]
    if rotary_dim is None and 2 * width == x.shape[-1]:
        raise ValueError(
            f"rope: cos is {width} wide and a head has {x.shape[-1]} elements; say rotary_dim={width} if half of a "
            f"head is turned, or rotary_dim={2 * width} if cos has each angle once"
        )
    if rotary_dim not in (None, width, 2 * width):
        raise ValueError(f"rope: rotary_dim is {rotary_dim}; cos is {width} wide, so it is that or twice that")
    return rotary_dim == 2 * width


def by_token(x: Tensor, heads: int) -> Tensor:
    """A view ``[B, S, H, D]`` of a tensor whose dimension `heads` is the heads.

    Raises:
        ValueError: it is not ``[B, H, S, D]``, ``[B, S, H, D]`` or ``[T, H, D]``.
    """
    if not x.is_floating_point() or (x.ndim, heads) not in ((4, 1), (4, 2), (3, 1)):
        raise ValueError(
            f"rope: {x.dtype} {list(x.shape)} with unsqueeze_dim={heads}; it has to be floating-point [B, H, S, D] or "
            "[T, H, D] with 1, or [B, S, H, D] with 2"
        )
    if x.ndim == 3:
        return x[None]
    return x.transpose(1, 2) if heads == 1 else x


def from_token(y: Tensor, like: Tensor, heads: int) -> Tensor:
    """The way back from `by_token`."""
    if like.ndim == 3:
        return y[0]
    return y.transpose(1, 2) if heads == 1 else y


def angles(q: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Angles and positions with the batch dimension of `q`, ``[B, S, H, D]``; a table stays ``[P, W]``."""
    if positions is None:
        return _batched(q, cos, 3), _batched(q, sin, 3), None
    return cos, sin, _batched(q, positions, 2)


def _batched(q: Tensor, each: Tensor, dimensions: int) -> Tensor:
    each = each[None] if each.ndim == dimensions - 1 else each
    if each.ndim == dimensions and each.shape[0] == 1:
        return each.expand(q.shape[0], *each.shape[1:])
    return each


def turned(cos: Tensor, half_width: bool) -> int:
    """How many elements of a head are turned."""
    return cos.shape[-1] * (2 if half_width else 1)


def check(
    q: Tensor, k: Tensor | None, table: tuple[Tensor, Tensor], positions: Tensor | None, half_width: bool
) -> None:
    """Refuses what does not fit; tensors are ``[B, S, H, D]``, angles ``[B, S, W]`` or a table ``[P, W]``."""
    cos, sin = table
    tokens = list(q.shape[:2])
    if k is not None and (list(k.shape[:2]), k.shape[3], k.dtype) != (tokens, q.shape[3], q.dtype):
        raise ValueError(f"rope: as [B, S, H, D], q is {q.dtype} {list(q.shape)} and k {k.dtype} {list(k.shape)}")
    if cos.shape != sin.shape or cos.dtype != sin.dtype or not cos.is_floating_point():
        raise ValueError(f"rope: cos is {cos.dtype} {list(cos.shape)}, sin {sin.dtype} {list(sin.shape)}")
    wanted = [*tokens, cos.shape[-1]] if positions is None else [cos.shape[0], cos.shape[-1]]
    if list(cos.shape) != wanted or turned(cos, half_width) > q.shape[3] or turned(cos, half_width) % 2:
        raise ValueError(
            f"rope: cos is {list(cos.shape)} for [B, S, H, D] = {list(q.shape)}; it has to be [B, S, W] with an even "
            "W <= D of which all are turned, or half of those that are turned"
        )
    if positions is not None and (list(positions.shape) != tokens or positions.is_floating_point()):
        raise ValueError(f"rope: position_ids are {positions.dtype} {list(positions.shape)}; tokens are {tokens}")
    if cos.requires_grad or sin.requires_grad:
        raise ValueError("rope: cos and sin get no gradient here; detach them")
    for other in (k, cos, sin, positions):
        if other is not None and other.device != q.device:
            raise ValueError(f"rope: a tensor is on {other.device} and q on {q.device}; move one of them")


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_rotate(q, k, cos, sin, positions, interleaved, half_width, back):  # noqa: PLR0913
    return torch.empty_like(q), q.new_empty(0) if k is None else torch.empty_like(k)


def _fake_rotate_(x, cos, sin, positions, interleaved, half_width):
    return None


define(
    "rope",
    RawOp(
        "rotate",
        "(Tensor q, Tensor? k, Tensor cos, Tensor sin, Tensor? positions, bool interleaved, bool half_width,"
        " bool back) -> (Tensor, Tensor)",
        _fake_rotate,
    ),
    RawOp(
        "rotate_",
        "(Tensor(a!) x, Tensor cos, Tensor sin, Tensor? positions, bool interleaved, bool half_width) -> ()",
        _fake_rotate_,
    ),
)
dispatch.add(
    "rope",
    dispatch.Implementation("triton", dispatch.triton_reason, "sft_kernels.ops.rope.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.rope.reference"),
)
