"""What a plan is, and how a module's own forward is tried without its weights."""

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Change", "Plan", "Stub", "agree", "bound", "random", "taken_reason"]


class Change(NamedTuple):
    """An attribute that an instance gets, which its class has too."""

    module: nn.Module
    attribute: str
    value: Any


Plan = list[Change] | str | None
"""What to change, or why a module that looks like it cannot be replaced, or None: it does not look like it."""


class Stub:
    """Stands for a module in a call of its class's forward: some attributes are others, and the rest are its own."""

    def __init__(self, module: nn.Module, **others: Any) -> None:
        self.__dict__.update(others)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def bound(module: nn.Module, forward: Callable[..., Any], attribute: str = "forward") -> Change:
    """A method of this instance alone; a copy of the module gets one of its own."""
    return Change(module, attribute, MethodType(forward, module))


def taken_reason(module: nn.Module, attribute: str = "forward") -> str | None:
    """Why the instance cannot get a forward, or None."""
    return f"its {attribute} has been replaced already" if attribute in module.__dict__ else None


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal values on the CPU, without touching the process's generator."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()


def agree(
    theirs: Callable[..., Any], ours: Callable[..., Any], inputs: Sequence[Tensor], *, exact: bool = False
) -> bool:
    """Whether two functions have the same results and gradients, to float32; with `exact`, results to the bit."""
    outcomes: list[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]] = []
    for function in (theirs, ours):
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            produced = function(*inputs)
            outputs: tuple[Tensor, ...] = tuple(produced) if isinstance(produced, tuple | list) else (produced,)
            total = torch.stack([(out.float() * (out.detach().float() + 1)).sum() for out in outputs]).sum()
            outcomes.append((outputs, torch.autograd.grad(total, list(inputs))))
    (outputs, gradients), (our_outputs, our_gradients) = outcomes
    same = all(a.dtype == b.dtype and a.shape == b.shape for a, b in zip(outputs, our_outputs, strict=True))
    if exact:
        return same and all(torch.equal(a, b) for a, b in zip(outputs, our_outputs, strict=True))
    pairs = zip(outputs + gradients, our_outputs + our_gradients, strict=True)
    return same and all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)
