"""The table of attention backends: one row each, also for those that cannot be chosen yet.

`attn_implementation` is the only attention setting; everything else about attention is read off its row.
How a backend keeps packed samples apart:

    varlen      gets `cu_seqlens`; tokens of other samples are never touched
    block_mask  gets `position_ids`; transformers builds a block-diagonal mask from them
    none        tokens of one sample would see those of another

Sources: transformers 5.17 to 5.23 (`masking_utils`, `modeling_flash_attention_utils`, `integrations`), torch 2.15
(`nn.attention.varlen`, `nn.attention.flex_attention`), and flash-attention's README and interfaces. transformers
hands sinks to FlashAttention 2 and 3, which have none: they would be dropped without a word, so those rows say no.
"""

from __future__ import annotations

import re
from dataclasses import replace

from sft_schema.attention.backend import AttentionBackend

_ALL = ("float32", "bfloat16", "float16")
_HALF = ("bfloat16", "float16")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?(:\w+)?")

_ROWS = (
    AttentionBackend(
        "eager", "block_mask", None, _ALL, on_cpu=True,
        sliding_window=True, softcap=True, sinks=True, deterministic="always",
    ),
    AttentionBackend(
        "sdpa", "block_mask", None, _ALL, on_cpu=True,
        sliding_window=True, deterministic="on_request",
    ),
    AttentionBackend(
        "flex_attention", "block_mask", None, _ALL, on_cpu=False,
        sliding_window=True, softcap=True, sinks=True,
    ),
    AttentionBackend(
        "flash_attention_2", "varlen", "flash-attn", _HALF, on_cpu=False,
        min_sm=80, max_head_dim=256,
        sliding_window=True, softcap=True, deterministic="on_request",
    ),
    AttentionBackend(
        "flash_attention_3", "varlen", "flash-attn-3", _HALF, on_cpu=False,
        min_sm=80, only_sm=(80, 86, 87, 89, 90), max_head_dim=256, head_dim_multiple=8,
        sliding_window=True, softcap=True, deterministic="on_request",
    ),
    AttentionBackend(
        "flash_attention_4", "varlen", "flash-attn-4", _HALF, on_cpu=False,
        min_sm=90, max_head_dim=256, head_dim_multiple=8,
        sliding_window=True, softcap=True, sinks=True, deterministic="on_request",
        missing="whether flash-attn-4 is installed is not looked up yet",
    ),
    AttentionBackend(
        "torch_varlen", "varlen", None, _HALF, on_cpu=False,
        min_sm=80, max_head_dim=256, head_dim_multiple=8,
        sliding_window=True, deterministic="on_request",
        missing="torch.nn.attention.varlen is not connected to the models yet",
    ),
    AttentionBackend(
        "sft_varlen", "varlen", None, _ALL, on_cpu=True,
        min_sm=80, max_head_dim=256,
        sliding_window=True, softcap=True, sinks=True, context_parallel=True, deterministic="on_request",
    ),
    AttentionBackend(
        "xformers", "varlen", "xformers", _ALL, on_cpu=False,
        max_head_dim=256, head_dim_multiple=8, sliding_window=True,
        missing="xformers is not connected to the models yet",
    ),
    AttentionBackend(
        "sage", "varlen", "sageattention", _HALF, on_cpu=False,
        min_sm=80, only_sm=(80, 86, 89, 90, 120), max_head_dim=128,
        missing="sageattention is not connected to the models yet",
    ),
)  # fmt: skip

HUB_KERNEL = AttentionBackend(
    "org/name", "none", "kernels", _HALF, on_cpu=False,
    missing="kernels of the hub are not loaded yet, and nothing is known of how they keep samples apart",
)  # fmt: skip
"""The row of every `org/name`, `org/name@revision` and `org/name:function`."""

ALL_BACKENDS: dict[str, AttentionBackend] = {row.name: row for row in _ROWS}
"""Every row by name."""

BACKENDS: dict[str, AttentionBackend] = {row.name: row for row in _ROWS if row.available}
"""The rows that can be chosen."""


def find_backend(name: str) -> AttentionBackend | None:
    """The row of a value of `attn_implementation`, which may be one that cannot be chosen; None for no such name."""
    row = BACKENDS.get(name) or ALL_BACKENDS.get(name)
    if row is None and _HUB_NAME.fullmatch(name):
        return replace(HUB_KERNEL, name=name)
    return row
