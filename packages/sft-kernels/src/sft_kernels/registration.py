"""Raw ops: how the forward and backward pass of an op become known to torch.

An op is two raw ops, ``torch.ops.sft_kernels.<op>_forward`` and ``..._backward``, in an ``autograd.Function``. The
raw ops are opaque to ``torch.compile`` (which traces the Function and sees shapes and dtypes through their fakes) and
can be named in a policy of selective checkpointing. They are defined with ``torch.library.Library``, which costs a
third of what ``custom_op`` does per call. The last argument of each is the name of the implementation, chosen by
`sft_kernels.dispatch` before autograd, so that both passes use the same one.

Autocast does not change what an op computes: it runs in the dtypes it is given, and inside a raw op autocast is off.
An op whose work is a matrix product calls `autocast_inputs` first, as ``torch.nn.functional.linear`` would.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sft_kernels import dispatch

__all__ = ["RawOp", "autocast_inputs", "define"]

# One per process, and never deleted: a Library takes its ops with it.
_LIBRARY = torch.library.Library("sft_kernels", "DEF")


class RawOp(NamedTuple):
    """A raw op: what it is called with, and what comes out of it."""

    function: str
    """Its name in the modules of implementations, and the end of its own: ``forward``, ``backward``."""
    schema: str
    """As torch writes it, from the opening parenthesis on, without the backend: ``(Tensor x, float eps) -> Tensor``."""
    fake: Callable[..., Any]
    """Takes the arguments without the backend; returns empty tensors shaped like the results."""


def define(op: str, *raw_ops: RawOp) -> None:
    """Defines ``sft_kernels::<op>_<function>`` for each raw op, on every device, with a fake."""
    for raw in raw_ops:
        name = f"{op}_{raw.function}"
        arguments, results = raw.schema.split(" -> ")
        _LIBRARY.define(f"{name}{arguments[:-1]}, str backend) -> {results}", tags=(torch.Tag.pt2_compliant_tag,))
        _LIBRARY.impl(name, _runner(op, raw.function), "CompositeExplicitAutograd")
        torch.library.register_fake(f"sft_kernels::{name}", _without_backend(raw.fake), lib=_LIBRARY)


def autocast_inputs(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Casts floating-point tensors to autocast's dtype where autocast is on for their device; others as they are.

    float64 is left alone, as torch's own ops leave it.
    """
    return tuple(_autocast(tensor) for tensor in tensors)


def _autocast(tensor: Tensor | None) -> Tensor | None:
    if tensor is None or not tensor.is_floating_point() or tensor.dtype == torch.float64:
        return tensor
    kind = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else tensor


def _runner(op: str, function: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        *rest, backend = args
        chosen = getattr(dispatch.load(op, backend), function)
        kind = rest[0].device.type
        if not torch.is_autocast_enabled(kind):
            return chosen(*rest)
        with torch.autocast(kind, enabled=False):
            return chosen(*rest)

    return run


def _without_backend(fake: Callable[..., Any]) -> Callable[..., Any]:
    def shapes(*args: Any) -> Any:
        return fake(*args[:-1])

    return shapes
