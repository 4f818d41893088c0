"""Rotary position embedding in plain PyTorch: the meaning that every other implementation has to match.

Of a pair (a, b) with angles of its own each: ``a' = a cos_a - b sin_a`` and ``b' = b cos_b + a sin_b``. The gradient
goes through the transposed matrix.
"""

import torch
from torch import Tensor

from sft_kernels.launch import accumulator
from sft_kernels.ops.rope import turned

__all__ = ["pairs", "rotate", "rotate_", "rotated"]


def rotate(  # noqa: PLR0913
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None,
    interleaved: bool,
    half_width: bool,
    back: bool,
) -> tuple[Tensor, Tensor]:
    """``(q', k')`` of ``[B, S, H, D]``; the second is empty without keys. `back` turns by the transposed matrix."""
    table = pairs(cos, sin, positions, interleaved, half_width, accumulator(q.dtype))
    width = turned(cos, half_width)
    return _like(q, table, width, interleaved, back), (
        q.new_empty(0) if k is None else _like(k, table, width, interleaved, back)
    )


def rotate_(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None, interleaved: bool, half_width: bool) -> None:
    """`rotate` of one tensor, into that tensor."""
    x.copy_(rotate(x, None, cos, sin, positions, interleaved, half_width, False)[0])


def pairs(
    cos: Tensor, sin: Tensor, positions: Tensor | None, interleaved: bool, half_width: bool, acc: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosines of the first and the second of each pair, and sines: ``[B, S, 1, R / 2]``."""
    found: list[Tensor] = []
    for table in (cos, sin):
        each = (table if positions is None else table[positions]).to(acc)[:, :, None]
        found += [each, each] if half_width else _split(each, interleaved)
    return found[0], found[1], found[2], found[3]


def rotated(
    wide: Tensor, table: tuple[Tensor, Tensor, Tensor, Tensor], width: int, interleaved: bool, back: bool
) -> Tensor:
    """The same in the wide dtype, contiguous."""
    a, b = _split(wide[..., :width], interleaved)
    cos_a, cos_b, sin_a, sin_b = table
    if back:
        first, second = a * cos_a + b * sin_b, b * cos_b - a * sin_a
    else:
        first, second = a * cos_a - b * sin_a, b * cos_b + a * sin_b
    joined = torch.stack((first, second), -1).flatten(-2) if interleaved else torch.cat((first, second), -1)
    return torch.cat((joined, wide[..., width:]), -1)


def _like(x: Tensor, table: tuple[Tensor, Tensor, Tensor, Tensor], width: int, interleaved: bool, back: bool) -> Tensor:
    return torch.empty_like(x).copy_(rotated(x.to(table[0].dtype), table, width, interleaved, back))


def _split(x: Tensor, interleaved: bool) -> list[Tensor]:
    """The first and the second elements of pairs."""
    return [x[..., ::2], x[..., 1::2]] if interleaved else list(x.chunk(2, -1))
