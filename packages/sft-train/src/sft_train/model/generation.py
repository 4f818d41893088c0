"""How the saved model generates when nobody says otherwise: generation_config.json."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def set_generation_defaults(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stop_ids: Sequence[int]
) -> None:
    """Makes generation stop where training taught the model to stop.

    Args:
        model: the bare model; its configs are changed in place.
        tokenizer: see `load_tokenizer`.
        stop_ids: ids that end a trained turn, the template's own first.
    """
    config: GenerationConfig = model.generation_config or GenerationConfig()
    config.eos_token_id = list(stop_ids)
    config.pad_token_id = pad_id(tokenizer, stop_ids)
    if tokenizer.bos_token_id is not None:
        config.bos_token_id = tokenizer.bos_token_id
    model.generation_config = _valid(config)
    text_config = model.config.get_text_config()
    for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
        if getattr(tokenizer, name) is not None:
            setattr(text_config, name, getattr(tokenizer, name))


def pad_id(tokenizer: PreTrainedTokenizerBase, stop_ids: Sequence[int]) -> int:
    """Id that fills batches up in generation.

    The pad token, or the unknown token, whichever is not a stop token. Where a tokenizer has neither, the stop
    token fills up: that is harmless, because batches are filled on the left under an attention mask and an
    answer ends at its first stop token. Training itself never pads.
    """
    for candidate in (tokenizer.pad_token_id, tokenizer.unk_token_id):
        if candidate is not None and candidate not in stop_ids:
            return candidate
    return stop_ids[0] if stop_ids else 0


def _valid(config: GenerationConfig) -> GenerationConfig:
    """Transformers refuses to save a changed config that contradicts itself, as some published ones do."""
    try:
        config.validate(strict=True)
    except ValueError:
        # The contradiction is a temperature or top_p beside `do_sample: false`: sampling is what was meant.
        config.do_sample = True
    return config
