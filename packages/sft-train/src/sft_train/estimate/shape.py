"""The sizes of a decoder, read from its config.json, and the weights that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sft_schema import ConfigError, Issue


@dataclass(frozen=True, slots=True)
class _Family:
    """What the layers of a `model_type` have besides matrices of the usual sizes.

    Attributes:
        norms: norms of the hidden width in a layer.
        head_norms: queries and keys have a norm of the width of a head.
        qkv_bias: queries, keys and values have a bias.
    """

    norms: int = 2
    head_norms: bool = False
    qkv_bias: bool = False


FAMILIES: Mapping[str, _Family] = {
    "llama": _Family(),
    "mistral": _Family(),
    "mixtral": _Family(),
    "phi3": _Family(),
    "qwen2": _Family(qkv_bias=True),
    "qwen3": _Family(head_norms=True),
    "qwen3_moe": _Family(head_norms=True),
    "gemma": _Family(),
    "gemma2": _Family(norms=4),
    "gemma3_text": _Family(norms=4, head_norms=True),
    "smollm3": _Family(),
}
"""Held against transformers' own models by a test, to the last weight."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder.

    Attributes:
        hidden_size: width between layers.
        layers: number of them.
        heads: query heads.
        kv_heads: heads of keys and values.
        head_dim: width of one.
        intermediate_size: width within the MLP, or within an expert.
        vocab_size: rows of the embedding.
        tied: embedding and head are the same weights.
        experts: experts of a layer; 1 is a plain MLP.
        experts_per_token: of these, run for a token.
        norms: norms of the hidden width in a layer.
        head_norms: queries and keys have norms.
        qkv_bias: queries, keys and values have a bias.
    """

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tied: bool = False
    experts: int = 1
    experts_per_token: int = 1
    norms: int = 2
    head_norms: bool = False
    qkv_bias: bool = False

    @property
    def query_width(self) -> int:
        """Of all query heads."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Of all heads of keys, and as much of values."""
        return self.kv_heads * self.head_dim

    @property
    def attention_matrices(self) -> int:
        """Weights of a layer's four projections."""
        return self.hidden_size * 2 * (self.query_width + self.key_width)

    @property
    def expert_matrices(self) -> int:
        """Weights of an MLP, or of one expert."""
        return 3 * self.hidden_size * self.intermediate_size

    @property
    def router(self) -> int:
        """Weights that choose among experts."""
        return self.hidden_size * self.experts if self.experts > 1 else 0

    @property
    def layer_matrices(self) -> int:
        """Weights of a layer's linear layers, all experts counted."""
        return self.attention_matrices + self.experts * self.expert_matrices + self.router

    @property
    def layer_vectors(self) -> int:
        """Weights of a layer's norms and biases."""
        biases = self.query_width + 2 * self.key_width if self.qkv_bias else 0
        return self.norms * self.hidden_size + (2 * self.head_dim if self.head_norms else 0) + biases

    @property
    def embedding(self) -> int:
        """Weights of the embedding."""
        return self.vocab_size * self.hidden_size

    @property
    def head(self) -> int:
        """Weights of a head of its own; 0 where it is the embedding."""
        return 0 if self.tied else self.embedding

    @property
    def weights(self) -> int:
        """All weights."""
        return self.layers * (self.layer_matrices + self.layer_vectors) + self.hidden_size + self.embedding + self.head

    @property
    def multiplied(self) -> int:
        """Weights that multiply a token: no embedding, the head once, and of the experts those that are run."""
        mlp = self.experts_per_token * self.expert_matrices + self.router
        return self.layers * (self.attention_matrices + mlp) + self.embedding


def read_shape(config: Mapping[str, Any]) -> ModelShape:
    """The sizes that a config.json states.

    Args:
        config: its content, with the defaults of its class filled in (`PretrainedConfig.to_dict()`).

    Raises:
        ConfigError: a `model_type` whose sizes are not known here.
    """
    kind = config.get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        message = f"memory of a {kind} model is not known here, only of {', '.join(sorted(FAMILIES))}"
        fix = "estimate a model of one of these that has as many weights"
        raise ConfigError([Issue("shape_not_known", ("base_model",), message, fix)])
    experts = int(config.get("num_local_experts") or config.get("num_experts") or 1)
    intermediate = config.get("moe_intermediate_size") if experts > 1 else None
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    return ModelShape(
        hidden_size=hidden,
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        intermediate_size=int(intermediate or config["intermediate_size"]),
        vocab_size=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings")),
        experts=experts,
        experts_per_token=int(config.get("num_experts_per_tok") or 1) if experts > 1 else 1,
        norms=family.norms,
        head_norms=family.head_norms,
        qkv_bias=family.qkv_bias,
    )
