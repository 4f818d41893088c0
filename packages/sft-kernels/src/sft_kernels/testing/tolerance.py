"""How far a result may be from the exact one: a rule that calibrates itself.

The rule is that of flash-attn's tests. The same formula is evaluated in float64 (exact) and, in plain PyTorch, in the
dtype under test (plain). A kernel may be twice as far from exact as plain is, and a few roundings of the dtype more::

    max|actual - exact| <= factor * max|plain - exact| + 2 * max|((e + s) - s) - e|      e = exact in the dtype

with s = 0.3, or 0.3 times the largest value where that is less than one: gradients of a mean are tiny, and a fixed s
would allow anything there.
"""

import torch
from torch import Tensor

__all__ = ["assert_as_accurate"]


def assert_as_accurate(name: str, actual: Tensor, plain: Tensor, exact: Tensor, factor: float = 2.0) -> None:
    """Raises AssertionError where `actual` breaks the rule; all three have one shape, `exact` is float64."""
    assert actual.shape == exact.shape, f"{name} has shape {list(actual.shape)}, expected {list(exact.shape)}"
    assert actual.dtype == plain.dtype, f"{name} is {actual.dtype}, and plain PyTorch gives {plain.dtype}"
    if exact.numel() == 0:
        return
    error, plain_error = _largest(actual.double() - exact), _largest(plain.double() - exact)
    rounded = exact.to(actual.dtype)
    shift = 0.3 * min(1.0, _largest(exact))
    allowed = factor * plain_error + 2 * _largest(((rounded + shift) - shift) - rounded)
    assert error <= allowed, f"{name} is off by {error:.3g}; allowed is {allowed:.3g}, plain PyTorch {plain_error:.3g}"


def _largest(difference: Tensor) -> float:
    """The largest magnitude; infinity where there is a NaN."""
    largest = difference.detach().abs().max()
    return float("inf") if torch.isnan(largest) else float(largest)
