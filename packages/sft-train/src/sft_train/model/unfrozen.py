"""Full fine-tuning of some weights: the others are frozen."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from sft_schema import ConfigError, Issue
from sft_schema.config import AdapterSection
from sft_schema.config.adapter import split_rows


def freeze_others(model: nn.Module, cfg: AdapterSection) -> None:
    """Freezes what `unfrozen_parameters` does not name; without it all weights are trained.

    An expression is matched from the beginning of a parameter's name. Of a weight with a range, such as
    `^model.embed_tokens.weight$[32000:]`, the other rows get no gradient, and so keep their values.

    Args:
        model: the bare model; changed in place.
        cfg: which weights.

    Raises:
        ConfigError: an expression matches no weight, or a range leaves the weight's rows.
    """
    if not cfg.unfrozen_parameters:
        return
    rows: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters())
    for index, text in enumerate(cfg.unfrozen_parameters):
        pattern, span = split_rows(text)
        names = [name for name in parameters if re.match(pattern, name)]
        if not names:
            known = ", ".join(list(parameters)[:3])
            message = f"{text!r} matches the name of no weight"
            raise ConfigError(
                [Issue("no_such_weight", ("unfrozen_parameters", index), message, f"names are {known}...")]
            )
        for name in names:
            trained = rows.setdefault(name, torch.zeros(len(parameters[name]), dtype=torch.bool))
            first, end = span or (0, None)
            _check_span(text, index, name, (first, len(trained) if end is None else end), len(trained))
            trained[first:end] = True
    for name, parameter in parameters.items():
        trained = rows.get(name)
        parameter.requires_grad_(trained is not None)
        if trained is not None and not trained.all():
            _keep(parameter, ~trained)


def _check_span(text: str, index: int, name: str, span: tuple[int, int], rows: int) -> None:
    if 0 <= span[0] < span[1] <= rows:
        return
    message = f"{text!r}: {name} has rows 0 to {rows - 1}"
    raise ConfigError([Issue("no_such_rows", ("unfrozen_parameters", index), message, f"end the range at {rows}")])


def _keep(parameter: nn.Parameter, frozen: Tensor) -> None:
    """No gradient for the rows `frozen`, bool `[rows]`."""

    def hook(gradient: Tensor) -> Tensor:
        shape = (-1, *(1 for _ in gradient.shape[1:]))
        return gradient.masked_fill(frozen.to(gradient.device).view(shape), 0)

    parameter.register_hook(hook)
