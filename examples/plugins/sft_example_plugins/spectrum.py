"""Layers chosen by their signal, as in Spectrum (Hartford et al. 2024, arXiv 2406.06623).

The singular values of an m x n matrix of independent noise of deviation s stay below s (sqrt(m) + sqrt(n)), the edge
of Marchenko and Pastur. What is above is taken for signal: of the matrices of each kind (`q_proj`, say) those with the
largest ratio of signal to noise are trained, and everything else is frozen.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from sft_schema import ConfigError, Issue
from sft_schema.config import Section
from sft_train.plugin import TrainingPlugin

_DEVIATIONS = 1.349
"""Between the quartiles of a normal distribution."""


class SpectrumSettings(Section):
    """Part of the matrices of each kind that is trained."""

    part: float = 0.25


class Spectrum(TrainingPlugin):
    """Freezes all but the matrices with the most signal, before the optimizer is built."""

    Settings = SpectrumSettings

    def change_model(self, model: nn.Module) -> None:
        """Ranks the linear layers of each kind."""
        if self.cfg.adapter is not None or not 0 < self.settings.part <= 1:
            fix = "remove `adapter`, and choose `part` over 0 and up to 1"
            message = "it chooses among the weights of the model itself"
            raise ConfigError([Issue("spectrum", ("training_plugins", "spectrum"), message, fix)])
        kinds: dict[str, list[nn.Linear]] = defaultdict(list)
        for name, each in model.named_modules():
            if isinstance(each, nn.Linear):
                kinds[name.rpartition(".")[2]].append(each)
        model.requires_grad_(False)
        for layers in kinds.values():
            layers.sort(key=lambda each: -signal_to_noise(each.weight))
            for layer in layers[: max(1, round(self.settings.part * len(layers)))]:
                layer.requires_grad_(True)


@torch.no_grad()
def signal_to_noise(weight: Tensor) -> float:
    """Sum of the singular values above the edge of noise, over the sum of those below.

    Args:
        weight: `[m, n]`, of any dtype.
    """
    values = torch.linalg.svdvals(weight.float())
    low, high = torch.quantile(weight.float().flatten()[: 2**24], torch.tensor([0.25, 0.75], device=weight.device))
    edge = float(high - low) / _DEVIATIONS * (weight.shape[0] ** 0.5 + weight.shape[1] ** 0.5)
    signal, noise = values[values > edge].sum(), values[values <= edge].sum()
    return float(signal / noise) if noise > 0 else float("inf")
