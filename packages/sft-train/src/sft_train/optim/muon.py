"""Muon for the hidden weight matrices, AdamW for all others, as one optimizer.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the nearest
orthogonal one. It is not meant for the embedding, the head, biases and norms, which AdamW updates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch.optim import Optimizer


class MuonWithAdamW(Optimizer):
    """Several optimizers that look like one: their groups in one list, their states in one mapping.

    A schedule, a checkpoint or a gradient scaler sees an optimizer like any other.

    Args:
        parts: optimizers over different weights, none stepped yet.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every part."""
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up a state that `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Gives each part its groups of `param_groups`, and all of them `state`."""
        groups = iter(cast("list[dict[str, Any]]", self.param_groups))
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state
