"""The products of a linear layer with an adapter, in torch's matrix products.

On a GPU they are cuBLAS', with float32 sums. What is added to a product is added in its own memory. Operands that are
not contiguous are copied: the library would choose other kernels, and bits, for other strides.
"""

import torch
from torch import Tensor

__all__ = ["backward", "forward"]


def forward(  # noqa: PLR0913
    x: Tensor,
    dropped: Tensor | None,
    weight: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    bias: Tensor | None,
    scaling: float,
) -> tuple[Tensor, Tensor]:
    """``(y, xa)``: ``[..., N]``, and ``[..., r]`` or empty."""
    rows, weight = _rows(x), weight.contiguous()
    y = rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())
    if a is None or b is None:
        return y.view(*x.shape[:-1], y.shape[-1]), x.new_empty(0)
    xa = (rows if dropped is None else _rows(dropped)) @ a.contiguous().t()
    y.addmm_(xa, b.contiguous().t(), alpha=scaling)
    return y.view(*x.shape[:-1], y.shape[-1]), xa.view(*x.shape[:-1], xa.shape[-1])


def backward(  # noqa: PLR0913
    grad: Tensor,
    x: Tensor,
    dropped: Tensor | None,
    xa: Tensor,
    weight: Tensor | None,
    a: Tensor | None,
    b: Tensor | None,
    scaling: float,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``(dx, ddropped, da, db, dbias)``, each empty unless `wanted`."""
    rows, source = _rows(grad), _rows(x if dropped is None else dropped)
    dx, ddropped, da, db = (x.new_empty(0) for _ in range(4))  # four: results must not share memory
    if wanted[0] and weight is not None:
        dx = rows @ weight.contiguous()
    if a is not None and b is not None:
        a = a.contiguous()
        dxa = (rows @ b.contiguous()).mul_(scaling)  # [tokens, r]
        if wanted[0] and dropped is None:
            dx.addmm_(dxa, a)
        if wanted[1]:
            ddropped = dxa @ a
        if wanted[2]:
            da = dxa.t() @ source
        if wanted[3]:
            db = (rows.t() @ _rows(xa)).mul_(scaling)
    dbias = rows.sum(0) if wanted[4] else x.new_empty(0)
    dx = dx.view(x.shape) if wanted[0] else dx
    return dx, ddropped.view(x.shape) if wanted[1] else ddropped, da, db, dbias


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).contiguous()
