"""The files of a model: the same in every checkpoint and in the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin


def write_model(
    model: Any,
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin,
    folder: Path,
    state_dict: dict[str, Any] | None = None,
) -> None:
    """Writes all that is needed to use the model: weights or adapter, configs, tokenizer and chat template.

    Beside an adapter there is no config.json: transformers would take the folder for a whole model and miss the
    weights. Without it, it loads the base model that adapter_config.json names, and the adapter on top.

    Args:
        model: bare, or with an adapter (which alone is written then).
        tokenizer: with the chat template of the training; or the processor around it.
        folder: made if absent.
        state_dict: the weights, where they are not those in `model`.
    """
    adapted = hasattr(model, "get_base_model")
    bare: PreTrainedModel = model.get_base_model() if adapted else model
    given = {} if state_dict is None else {"state_dict": state_dict}
    if adapted:  # and may be in training meanwhile, see `writer_of`: its config is left alone
        model.save_pretrained(folder, **given)
    else:
        _save_for_generation(bare, folder, given)
    if bare.generation_config is not None:
        bare.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _save_for_generation(model: PreTrainedModel, folder: Path, given: dict[str, Any]) -> None:
    """The Trainer turns the cache off to train; whoever loads the model wants it for generation."""
    trained_with = model.config.use_cache
    model.config.use_cache = True
    try:
        model.save_pretrained(folder, **given)
    finally:
        model.config.use_cache = trained_with
