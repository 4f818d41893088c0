"""MLPs with a gated activation, and experts of a mixture whose gate is a method of its own."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from sft_kernels.ops.glu import geglu, swiglu, swiglu_packed
from sft_kernels.replace.plan import Plan, Stub, agree, bound, random, taken_reason

__all__ = ["plan_glu"]

Gate = Callable[[Tensor, Tensor], Tensor]
GATES: tuple[Gate, ...] = (swiglu, geglu, partial(geglu, approximate="none"))
NOT_KNOWN = "its forward does not compute what swiglu or geglu does"
FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError)


def plan_glu(module: nn.Module) -> Plan:
    """Modules with gate, up and down projections, with gate and up in one, or with `_apply_gate`."""
    if hasattr(type(module), "_apply_gate"):
        return _experts(module)
    names = {name for name, _ in module.named_children()}
    if {"gate_proj", "up_proj", "down_proj"} <= names:
        return _reason(module) or _separate(module)
    if {"gate_up_proj", "down_proj"} <= names:
        return _reason(module) or _packed(module)
    return None


def _reason(module: nn.Module) -> str | None:
    """Why it is left without a trial: a model may be in the mode of evaluation now, where dropout cannot be seen."""
    drops = any(isinstance(child, nn.Dropout) and child.p > 0 for child in module.children())
    return "it has dropout" if drops else taken_reason(module)


def _separate(module: nn.Module) -> Plan:
    x, gate, up, down = _weights(6, 6)

    def theirs(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        projections = {"gate_proj": gate, "up_proj": up, "down_proj": down}
        return type(module).forward(Stub(module, training=True, **_linear(projections)), x)

    for activation in GATES:

        def ours(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, activation: Gate = activation) -> Tensor:
            return F.linear(activation(F.linear(x, gate), F.linear(x, up)), down)

        try:
            if agree(theirs, ours, [x, gate, up, down]):
                return [bound(module, _separate_forward(activation))]
        except FAILURES as error:
            return f"its forward cannot be tried: {error}"
    return NOT_KNOWN


def _separate_forward(activation: Gate) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.down_proj(activation(self.gate_proj(x), self.up_proj(x)))

    return forward


def _packed(module: nn.Module) -> Plan:
    x, gate_up, _, down = _weights(12, 6)

    def theirs(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        return type(module).forward(
            Stub(module, training=True, **_linear({"gate_up_proj": gate_up, "down_proj": down})), x
        )

    def ours(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        return F.linear(swiglu_packed(F.linear(x, gate_up)), down)

    try:
        return [bound(module, _packed_forward)] if agree(theirs, ours, [x, gate_up, down]) else NOT_KNOWN
    except FAILURES as error:
        return f"its forward cannot be tried: {error}"


def _packed_forward(self: Any, hidden_states: Tensor) -> Tensor:
    return self.down_proj(swiglu_packed(self.gate_up_proj(hidden_states)))


def _experts(module: nn.Module) -> Plan:
    """`_apply_gate` alone is replaced: the products around it are whichever the model's settings chose."""
    chosen = getattr(getattr(module, "config", None), "_experts_implementation", None)
    loop: Any = inspect.unwrap(type(module).forward)
    if chosen in (None, "eager") and "_apply_gate" not in loop.__code__.co_names:
        return f"its loop over experts (experts_implementation {chosen}) has the activation within"
    limit, alpha = getattr(module, "limit", None), getattr(module, "alpha", None)
    ways: list[dict[str, Any]] = [{}]
    if isinstance(limit, float) and isinstance(alpha, float):
        ways.append({"interleaved": True, "limit": limit, "alpha": alpha, "up_offset": 1.0})
    gate_up = (random(4, 12, seed=1).detach() * 4).requires_grad_()  # some are beyond the limit
    for way in ways:
        ours = partial(swiglu_packed, **way)
        try:
            if agree(module._apply_gate, ours, [gate_up]):  # pyright: ignore[reportCallIssue, reportArgumentType]
                reason = taken_reason(module, "_apply_gate")
                return reason or [bound(module, _gate(way), "_apply_gate")]
        except FAILURES as error:
            return f"its gate cannot be tried: {error}"
    return NOT_KNOWN


def _gate(way: dict[str, Any]) -> Callable[..., Tensor]:
    def _apply_gate(self: Any, gate_up: Tensor) -> Tensor:
        return swiglu_packed(gate_up, **way)

    return _apply_gate


def _weights(first: int, inner: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return random(2, 3, 4, seed=1), random(first, 4, seed=2), random(first, 4, seed=3), random(4, inner, seed=4)


def _linear(weights: dict[str, Tensor]) -> dict[str, Callable[[Tensor], Tensor]]:
    return {name: partial(F.linear, weight=weight) for name, weight in weights.items()}
