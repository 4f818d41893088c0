"""Norms: RMSNorm modules of any class, and torch's LayerNorm."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sft_kernels.ops.layer_norm import layer_norm
from sft_kernels.ops.rms_norm import Casting, rms_norm
from sft_kernels.replace.plan import Change, Plan, agree, bound, random, taken_reason

__all__ = ["Norm", "plan_layer_norm", "plan_rms_norm", "recognised"]

LOW = torch.bfloat16


class Norm(NamedTuple):
    """How a module's forward says `rms_norm`."""

    eps: float
    offset: float
    casting: Casting


KINDS: tuple[tuple[float, Casting], ...] = ((0.0, "llama"), (1.0, "gemma"), (0.0, "gemma"))
_known: dict[tuple[type[nn.Module], int, float], Norm | str] = {}


def plan_rms_norm(module: nn.Module) -> Plan:
    """Leaves with one weight and an epsilon, whose forward has the bits of `rms_norm` in one of its ways to round."""
    norm = recognised(module)
    if norm is None or isinstance(norm, str):
        return norm
    return [_replaced(module, norm)]


def recognised(module: nn.Module) -> Norm | str | None:
    """How the module computes, or why it is not known, or None: it does not look like a norm of this kind."""
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    parameters = dict(module.named_parameters())
    alone = next(module.children(), None) is None and next(module.buffers(), None) is None
    if not (alone and isinstance(eps, float) and parameters.keys() == {"weight"}):
        return None
    weight = parameters["weight"]
    if weight.ndim != 1:
        return f"its weight is {list(weight.shape)}, and a norm's is [N]"
    if reason := taken_reason(module):  # before its forward is tried: what is found is kept for its class
        return reason
    key = type(module), weight.numel(), eps
    if key not in _known:
        _known[key] = _probed(module, weight.numel(), eps)
    return _known[key]


def _probed(module: nn.Module, width: int, eps: float) -> Norm | str:
    def theirs(x: Tensor, weight: Tensor) -> Tensor:
        return functional_call(module, {"weight": weight}, (x,))

    wide = [random(3, width, seed=1), random(width, seed=2)]
    low = [random(64, width, seed=1, dtype=LOW), random(width, seed=2, dtype=LOW)]
    mixed = [low[0], wide[1]]
    try:
        for offset, casting in KINDS:
            ours = partial(rms_norm, eps=eps, offset=offset, casting=casting, backend="reference")
            if agree(theirs, ours, wide) and all(agree(theirs, ours, each, exact=True) for each in (low, mixed)):
                return Norm(eps, offset, casting)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        return f"its forward cannot be tried: {error}"
    return "its forward does not compute what rms_norm does"


def _replaced(module: nn.Module, norm: Norm) -> Change:
    eps, offset, casting = norm

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        return rms_norm(hidden_states, self.weight, eps, offset=offset, casting=casting)

    return bound(module, forward)


def plan_layer_norm(module: nn.Module) -> Plan:
    """Torch's own module over the last dimension."""
    if not isinstance(module, nn.LayerNorm):
        return None
    if type(module).forward is not nn.LayerNorm.forward:
        return "its class has a forward of its own"
    if len(module.normalized_shape) != 1:
        return f"it is over {len(module.normalized_shape)} dimensions, and layer_norm is over the last"
    return taken_reason(module) or [bound(module, _layer_norm)]


def _layer_norm(self: Any, input: Tensor) -> Tensor:
    """Under autocast on a GPU torch's own function computes and returns float32."""
    if input.is_cuda and torch.is_autocast_enabled("cuda"):
        input = input.float()
    return layer_norm(input, self.weight, self.bias, self.eps)
