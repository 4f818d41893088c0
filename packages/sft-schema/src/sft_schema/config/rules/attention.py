"""Attention: known, buildable, keeping samples apart, in a number format that it has."""

from __future__ import annotations

from difflib import get_close_matches

from sft_schema.attention import BACKENDS, find_backend, sharing_setting
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule

_HERE = ("attn_implementation",)


def _known(cfg: SftConfig) -> Finding | None:
    name = cfg.attn_implementation
    if find_backend(name) is not None:
        return None
    near = get_close_matches(name, BACKENDS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    message = f"no attention backend is called {name!r}"
    return Finding(_HERE, message, f"{hint}choose one of {', '.join(BACKENDS)}")


def _available(cfg: SftConfig) -> Finding | None:
    backend = find_backend(cfg.attn_implementation)
    if backend is None or backend.available:
        return None
    message = f"{backend.name!r} is not available: {backend.missing}"
    return Finding(_HERE, message, f"choose one of {', '.join(BACKENDS)}")


def _isolating(cfg: SftConfig) -> Finding | None:
    backend = BACKENDS.get(cfg.attn_implementation)
    if backend is None or backend.attn_supports_packing:
        return None
    shared = sharing_setting(cfg)
    if shared is None:
        return None
    able = ", ".join(name for name, row in BACKENDS.items() if row.attn_supports_packing)
    message = f"{shared} with {backend.name!r}: samples of one row would attend to one another"
    return Finding((shared.split()[0],), message, f"set attn_implementation to one of {able}")


def _number_format(cfg: SftConfig) -> Finding | None:
    backend = BACKENDS.get(cfg.attn_implementation)
    if backend is None or cfg.bf16 is not False or cfg.fp16 or not backend.attn_needs_dtype_cast:
        return None
    able = ", ".join(name for name, row in BACKENDS.items() if not row.attn_needs_dtype_cast)
    message = f"{backend.name} computes in {' or '.join(backend.dtypes)}, and `bf16: false` asks for float32"
    return Finding(("bf16",), message, f"set `bf16: auto`, or attn_implementation to one of {able}")


ATTENTION_RULES: tuple[Rule, ...] = (
    Rule("unknown_attention", ("attn_implementation",), _known),
    Rule("attention_not_built", ("attn_implementation",), _available),
    Rule(
        "packing_not_isolated",
        ("attn_implementation", "sample_packing", "micro_batch_size", "eval_batch_size"),
        _isolating,
    ),
    Rule("attention_in_float32", ("attn_implementation", "bf16", "fp16"), _number_format),
)
