"""What a model asks of its attention, held against what a backend can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sft_schema.attention.backend import AttentionBackend

_WITH_SINKS = frozenset(
    {"deepseek_v4", "flint", "gpt_oss", "granite_swa", "granitemoe_swa", "hy_v4", "mimo_v2_flash"}
    | {"openai_privacy_filter"}
)
"""Model types whose attention passes sinks (`s_aux`) in transformers 5.23."""


@dataclass(frozen=True, slots=True)
class AttentionNeeds:
    """What must not be left out, or the model would compute something else.

    Attributes:
        head_dims: head dimensions of its layers.
        sliding_window: some layers see a window only.
        softcap: scores are capped.
        sinks: heads have sinks.
        context_parallel: rows are spread over devices.
        sm: compute capability of the device times ten; None when there is no CUDA device.
    """

    head_dims: tuple[int, ...] = ()
    sliding_window: bool = False
    softcap: bool = False
    sinks: bool = False
    context_parallel: bool = False
    sm: int | None = None


def needs_of(config: Mapping[str, Any], *, sm: int | None = None) -> AttentionNeeds:
    """The needs of a model, read off its config.json.

    Args:
        config: its content; of a model with several parts the text part (`text_config`) is read.
        sm: see `AttentionNeeds`.
    """
    text: Mapping[str, Any] = config.get("text_config") or config
    window = text.get("sliding_window") is not None and text.get("use_sliding_window") is not False
    return AttentionNeeds(
        head_dims=_head_dims(text),
        sliding_window=window,
        softcap=bool(text.get("attn_logit_softcapping")),
        sinks=text.get("model_type") in _WITH_SINKS,
        sm=sm,
    )


def _head_dims(text: Mapping[str, Any]) -> tuple[int, ...]:
    nope, rope = text.get("qk_nope_head_dim"), text.get("qk_rope_head_dim")
    found = {text.get("head_dim"), text.get("global_head_dim")}
    if nope and rope:  # DeepSeek's latent attention: keys have a part with positions and a part without
        found = {nope + rope}
    elif not text.get("head_dim") and text.get("hidden_size") and text.get("num_attention_heads"):
        found.add(text["hidden_size"] // text["num_attention_heads"])
    return tuple(sorted(each for each in found if isinstance(each, int)))


def unmet(backend: AttentionBackend, needs: AttentionNeeds) -> tuple[str, ...]:
    """What the backend cannot do of what is needed, each as the end of a sentence that begins with its name."""
    found = [
        f"has no {what}"
        for what, needed, has in (
            ("sliding window", needs.sliding_window, backend.sliding_window),
            ("softcap", needs.softcap, backend.softcap),
            ("attention sinks", needs.sinks, backend.sinks),
            ("context parallelism", needs.context_parallel, backend.context_parallel),
        )
        if needed and not has
    ]
    found += [
        f"takes head dimensions {_head_dim_range(backend)}, and the model has {each}"
        for each in needs.head_dims
        if each % backend.head_dim_multiple or each > (backend.max_head_dim or each)
    ]
    if needs.sm is not None and not _runs_on(backend, needs.sm):
        wanted = ", ".join(_dotted(each) for each in backend.only_sm) or f"{_dotted(backend.min_sm or 0)} or newer"
        found.append(f"needs compute capability {wanted}, and this GPU has {_dotted(needs.sm)}")
    return tuple(found)


def _head_dim_range(backend: AttentionBackend) -> str:
    most = "" if backend.max_head_dim is None else f"up to {backend.max_head_dim}"
    multiple = "" if backend.head_dim_multiple == 1 else f"in multiples of {backend.head_dim_multiple}"
    return " ".join(part for part in (most, multiple) if part)


def _runs_on(backend: AttentionBackend, sm: int) -> bool:
    return sm in backend.only_sm if backend.only_sm else sm >= (backend.min_sm or 0)


def _dotted(sm: int) -> str:
    return f"{sm // 10}.{sm % 10}"
