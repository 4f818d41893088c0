"""Rows that several processes share: with an attention that can, and with nothing that looks at whole rows."""

from __future__ import annotations

from sft_schema.attention import BACKENDS
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule

_HERE = ("context_parallel_size",)


def _attention(cfg: SftConfig) -> Finding | None:
    backend = BACKENDS.get(cfg.attn_implementation)
    if cfg.context_parallel_size == 1 or backend is None or backend.context_parallel:
        return None
    able = ", ".join(name for name, row in BACKENDS.items() if row.context_parallel)
    message = f"context_parallel_size with {backend.name!r}: it sees the tokens of its own process alone"
    fix = f"set attn_implementation to {able}, which runs flash-attn's kernels where they are installed"
    return Finding(_HERE, message, fix)


def _whole_rows(cfg: SftConfig) -> Finding | None:
    if cfg.context_parallel_size == 1:
        return None
    needs = {
        "processor_type": "pictures belong to places of a whole row",
        "neftune_noise_alpha": "its limit comes from the length of a whole sample",
        "torch_compile": "what processes send one another cannot be compiled",
    }
    found = next((name for name in needs if getattr(cfg, name)), None)
    if found is None:
        return None
    return Finding(_HERE, f"context_parallel_size with {found}: {needs[found]}", f"remove one of the two: {found}, say")


def _method(cfg: SftConfig) -> Finding | None:
    if cfg.context_parallel_size > 1 or cfg.context_parallel_method == "ring":
        return None
    message = "context_parallel_method has no effect without context_parallel_size"
    return Finding(("context_parallel_method",), message, "add `context_parallel_size: 2`, say, or remove it")


CONTEXT_RULES: tuple[Rule, ...] = (
    Rule("context_parallel_attention", ("context_parallel_size", "attn_implementation"), _attention),
    Rule(
        "context_parallel_whole_rows",
        ("context_parallel_size", "processor_type", "neftune_noise_alpha", "torch_compile"),
        _whole_rows,
    ),
    Rule("context_parallel_method", ("context_parallel_size", "context_parallel_method"), _method),
)
