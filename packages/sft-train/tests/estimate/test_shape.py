"""Weights counted from sizes are those of transformers' own models, to the last one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sft_schema import ConfigError
from sft_train.estimate import read_shape
from sft_train.estimate.shape import FAMILIES

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 100,
    "moe_intermediate_size": 24,
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_weights_are_those_of_the_model(kind: str, tied: bool) -> None:
    config: Any = AutoConfig.for_model(kind)
    names = {name: value for name, value in SIZES.items() if hasattr(config, name)}
    config = AutoConfig.for_model(kind, **names, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert read_shape(config.to_dict()).weights == sum(weight.numel() for weight in model.parameters())


def test_a_token_is_multiplied_by_the_experts_that_it_runs() -> None:
    sizes = {name: value for name, value in SIZES.items() if name != "moe_intermediate_size"}
    config: Any = AutoConfig.for_model("mixtral", **sizes)
    shape = read_shape(config.to_dict())
    assert shape.experts == 4
    expert = 3 * 32 * 48
    assert shape.weights - shape.multiplied == 3 * 2 * expert + 100 * 32 + (3 * 2 + 1) * 32


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="mamba model is not known"):
        read_shape({"model_type": "mamba"})
