"""Rotary embeddings in attention modules, alone and together with the norms of queries and keys before them.

Modeling code calls a function of its own file, ``apply_rotary_pos_emb``. The instance gets a forward with the same
code and with a copy of that file's names in which this one is ours; the file's own name stays what it is.
"""

import inspect
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sft_kernels.ops.qk_norm_rope import qk_norm_rope
from sft_kernels.ops.rope import apply_rotary_pos_emb
from sft_kernels.replace.norm import Norm, recognised
from sft_kernels.replace.plan import Plan, Stub, agree, bound, random, taken_reason

__all__ = ["plan_qk_norm_rope", "plan_rope"]

NAME = "apply_rotary_pos_emb"
FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError)


class Way(NamedTuple):
    """How a function lays out what it turns."""

    interleaved: bool
    once: bool
    """Whether each angle is given once."""


WAYS = (Way(False, False), Way(False, True), Way(True, False))


class Angles(NamedTuple):
    """Travels where modeling code has `cos`: what the norms before it would need."""

    cos: Tensor
    q_weight: Tensor
    k_weight: Tensor


class _Reached(Exception):  # noqa: N818
    """Carries the tensors that modeling code turns out of its forward."""


def plan_rope(module: nn.Module) -> Plan:
    """Modules of classes named ``...Attention`` that call the function by its name."""
    if not type(module).__name__.endswith("Attention"):
        return None
    way = _way_of(module)
    if isinstance(way, str):
        return way
    return [bound(module, _with_ours(type(module).forward, _turned(way)))]


def plan_qk_norm_rope(module: nn.Module) -> Plan:
    """Of these, those with norms ``q_norm`` and ``k_norm`` of heads, whose results are what is turned."""
    q_norm, k_norm = getattr(module, "q_norm", None), getattr(module, "k_norm", None)
    if not (type(module).__name__.endswith("Attention") and isinstance(q_norm, nn.Module)):
        return None
    if not isinstance(k_norm, nn.Module):
        return "it has no k_norm"
    way, norms = _way_of(module), (recognised(q_norm), recognised(k_norm))
    if isinstance(way, str):
        return way
    if not isinstance(norms[0], Norm) or norms[0] != norms[1]:
        return f"its norms are not two of the same known kind: {norms[0] or 'unknown'}, {norms[1] or 'unknown'}"
    reason = _order_reason(module) or taken_reason(q_norm) or taken_reason(k_norm)
    if reason is not None:
        return reason
    forward = _norm_forward(type(module).forward, way, norms[0])
    return [bound(module, forward), bound(q_norm, _unchanged), bound(k_norm, _unchanged)]


def _way_of(module: nn.Module) -> Way | str:
    forward: Any = type(module).forward
    code = getattr(forward, "__code__", None)
    if code is None or NAME not in code.co_names or NAME not in forward.__globals__:
        return f"its forward does not call a function of its file named {NAME}"
    return taken_reason(module) or _probed(forward.__globals__[NAME])


@cache
def _probed(function: Callable[..., Any]) -> Way | str:
    """The way whose results and gradients are the function's, for angles as wide as a head and for narrower ones."""
    for way in WAYS:
        seen = {_same(function, _turned(way), width) for width in (8, 6, 4)}
        if False not in seen and True in seen:
            return way
    return f"{NAME} of its file does not compute what rope does"


def _same(function: Callable[..., Any], ours: Callable[..., Any], width: int) -> bool | None:
    """Whether the two agree for angles of a width, or None where the function has no such width."""
    q, k = random(2, 3, 5, 8, seed=1), random(2, 1, 5, 8, seed=2)
    cos, sin = (random(2, 5, width, seed=seed).detach() for seed in (3, 4))
    try:
        function(q, k, cos, sin)
    except FAILURES:
        return None
    try:
        return agree(partial(function, cos=cos, sin=sin), partial(ours, cos=cos, sin=sin), [q, k])
    except FAILURES:
        return False


@cache
def _turned(way: Way) -> Callable[..., Any]:
    def rotated(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
        width = cos.shape[-1] * (2 if way.once else 1)
        return apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim, rotary_dim=width, interleaved=way.interleaved)

    return rotated


@cache
def _with_ours(forward: Any, ours: Callable[..., Any]) -> Any:
    """The same code, in a copy of its names in which one is `ours`."""
    names = {**forward.__globals__, NAME: ours}
    del names["__name__"]  # torch.compile would look names up in the file that it names
    made = FunctionType(forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__)
    made.__kwdefaults__, made.__doc__ = forward.__kwdefaults__, forward.__doc__
    made.__qualname__, made.__module__ = forward.__qualname__, forward.__module__
    return made


@cache
def _norm_forward(forward: Any, way: Way, norm: Norm) -> Callable[..., Any]:
    def turned(q: Tensor, k: Tensor, angles: Angles, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
        cos, q_weight, k_weight = angles
        return qk_norm_rope(
            q,
            k,
            q_weight,
            k_weight,
            cos,
            sin,
            norm.eps,
            offset=norm.offset,
            unsqueeze_dim=unsqueeze_dim,
            rotary_dim=cos.shape[-1] * (2 if way.once else 1),
            interleaved=way.interleaved,
        )

    inner = _with_ours(forward, turned)

    def with_weights(
        self: Any, hidden_states: Tensor, position_embeddings: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        cos, sin = position_embeddings
        angles = Angles(cos, self.q_norm.weight, self.k_norm.weight)
        return inner(self, hidden_states, (angles, sin), *args, **kwargs)

    return with_weights


def _unchanged(self: Any, hidden_states: Tensor) -> Tensor:
    """What a norm does whose work is done with the rotation."""
    return hidden_states


def _order_reason(module: Any) -> str | None:
    """Why what is turned are not the norms' results, or None: shown by a run with stand-ins for projections."""
    forward = type(module).forward
    if list(inspect.signature(forward).parameters)[2:3] != ["position_embeddings"]:
        return "the second argument of its forward is not position_embeddings"
    width = getattr(module, "head_dim", None)
    if not isinstance(width, int) or module.q_norm.weight.numel() != width or module.k_norm.weight.numel() != width:
        return "its norms are not over the elements of a head"
    normed: list[Tensor] = []

    def norm(x: Tensor) -> Tensor:
        normed.append(x.clone())
        return normed[-1]

    def project(x: Tensor) -> Tensor:
        return torch.ones(*x.shape[:-1], 2 * width)

    def reached(q: Tensor, k: Tensor, cos: Any, sin: Any, *rest: Any) -> None:
        raise _Reached(q, k, cos, sin, *rest)

    parts = {"q_proj": project, "k_proj": project, "v_proj": project, "q_norm": norm, "k_norm": norm}
    angles = ("cos", "sin")
    try:
        _with_ours.__wrapped__(forward, reached)(Stub(module, **parts), torch.ones(1, 3, 4), angles, None)
    except _Reached as found:
        seen = found.args
    except FAILURES as error:
        return f"its forward cannot be tried: {error}"
    else:
        return f"its forward did not call {NAME}"
    if len(normed) != 2 or len(seen) != 4 or seen[2:] != angles or not all(map(_same_rows, normed, seen)):
        return "something else happens between its norms and the rotation"
    return None


def _same_rows(normed: Tensor, turned: Tensor) -> bool:
    """Whether one is a view of the other with the same elements, and the last dimension in its place."""
    same = normed.untyped_storage().data_ptr() == turned.untyped_storage().data_ptr()
    return same and normed.numel() == turned.numel() and normed.shape[-1] == turned.shape[-1] and turned.stride(-1) == 1
