"""Models whose samples would see one another in a shared row, whatever the attention backend's table says.

Attention is not the only thing that mixes tokens. A state-space layer, linear attention, a convolution or another
recurrence runs over a row from its first token to its last and knows no boundaries; and some models hand no
`position_ids` to transformers' mask, so that no block-diagonal mask is built. A row with several samples is then
another computation.

Source of the rows: small random models of about 160 causal language models of transformers 5.23, in float32 on a CPU.
When the first sample of a row was replaced, the second one's logits changed by 0.3 to 1.6 of the largest in these
types, and by nothing in the others. Not measured but read in their code: glm5_next, inkling_mm_model, qwen4_exp, zamba
and zamba2. Encoders that can be used as decoders (bert and its kin) mix samples too and are not listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from sft_schema.attention.backend import Isolation

Cause = Literal["state_space", "linear_attention", "convolution", "recurrence", "compression", "mask"]

_SENTENCES: dict[Cause, str] = {
    "state_space": "its state-space layers carry their state from one sample into the next",
    "linear_attention": "its linear attention carries its state from one sample into the next",
    "convolution": "its convolutions reach from one sample into the one before",
    "recurrence": "its recurrent layers carry their state from one sample into the next",
    "compression": "its compressed keys are pooled over blocks of tokens that hold parts of two samples",
    "mask": "its attention mask is built without position_ids, so that samples see one another",
}

_LAYER_TYPES: dict[str, Cause] = {
    "mamba": "state_space",
    "linear_attention": "linear_attention",
    "recurrent": "recurrence",
    "conv": "convolution",
    "hybrid": "state_space",
    "hybrid_sliding": "convolution",
    "compressed_sparse_attention": "compression",
    "heavily_compressed_attention": "compression",
}
"""Entries of a model's `layer_types` that carry something, as transformers 5.23 names them."""

_CARRYING_NOTHING = frozenset(
    {"attention", "full_attention", "sliding_attention", "chunked_attention", "indexed_attention", "minimax_m3_sparse"}
    | {"moe", "mlp", "dense", "sparse"}
)


@dataclass(frozen=True, slots=True)
class PackingLeak:
    """One row: a model type of transformers and why its samples mix.

    Attributes:
        model_type: `model_type` of config.json.
        causes: all reasons; of `mask` a backend that gets `cu_seqlens` is free.
    """

    model_type: str
    causes: tuple[Cause, ...]


_BY_CAUSE: dict[tuple[Cause, ...], str] = {
    ("state_space",): "bamba falcon_h1 falcon_mamba jamba mamba mamba2 nemotron_h zamba zamba2",
    ("linear_attention",): (
        "bailing_hybrid glm5_next kimi_linear minimax olmo_hybrid qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text "
        "qwen3_next qwen4_exp qwen4_exp_text"
    ),
    ("convolution",): "inkling2 inkling2_text inkling_mm_model inkling_text lfm2 lfm2_moe lfm3 zaya",
    ("recurrence",): "recurrent_gemma rwkv xlstm",
    ("compression",): "deepseek_v4",
    ("mask",): "afmoe biogpt bloom cpmant falcon gpt_oss mpt openai-gpt opt xglm",
    ("state_space", "mask"): "granitemoehybrid",
}

LEAKS: dict[str, PackingLeak] = {
    model_type: PackingLeak(model_type, causes) for causes, names in _BY_CAUSE.items() for model_type in names.split()
}
"""The table by model type."""


def packing_leak(
    model_type: str, *, isolation: Isolation = "block_mask", layer_types: Iterable[str] | None = None
) -> str | None:
    """Why samples of this model must not share a row, as one sentence; None when they may.

    Args:
        model_type: `model_type` of the model's config.json, or of its `text_config`.
        isolation: how the attention backend keeps samples apart.
        layer_types: `layer_types` of the same config. Where they are given they decide: a hybrid model without
            such layers carries nothing, and a model that the table does not know may have some.
    """
    row = LEAKS.get(model_type)
    causes: tuple[Cause, ...] = row.causes if row is not None else ()
    given = frozenset(layer_types or ())
    if row is None:
        causes = tuple(dict.fromkeys(_LAYER_TYPES[each] for each in sorted(given & _LAYER_TYPES.keys())))
    elif given and given <= _CARRYING_NOTHING:
        causes = tuple(cause for cause in causes if cause == "mask")
    if isolation == "varlen":
        causes = tuple(cause for cause in causes if cause != "mask")
    if not causes:
        return None
    return f"{model_type}: {'; '.join(_SENTENCES[cause] for cause in causes)}"


class RowSettings(Protocol):
    """The settings that decide how many samples a row holds; `SftConfig` has them."""

    @property
    def sample_packing(self) -> bool: ...  # noqa: D102 - documented in the config
    @property
    def micro_batch_size(self) -> int: ...  # noqa: D102
    @property
    def eval_batch_size(self) -> int: ...  # noqa: D102
    @property
    def processor_type(self) -> str | None: ...  # noqa: D102


def sharing_setting(cfg: RowSettings) -> str | None:
    """The setting, with its value, that puts several samples into one row; None when each has a row of its own.

    The rows of a batch are joined to one row and not padded, so a batch of two rows is shared as well. With pictures
    (`processor_type`) they are padded and stay apart.
    """
    if cfg.processor_type is not None:
        return None
    if cfg.sample_packing:
        return "sample_packing true"
    sizes = {"micro_batch_size": cfg.micro_batch_size, "eval_batch_size": cfg.eval_batch_size}
    return next((f"{key} {size}" for key, size in sizes.items() if size > 1), None)
