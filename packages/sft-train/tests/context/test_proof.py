"""Models and processes that cannot share rows are refused; tests/test_context_parallel.py has what two must try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from sft_schema import ConfigError, parse_config
from sft_train.compute import Compute
from sft_train.context import ContextMesh, check_context_size
from sft_train.context.proof import _check_config
from sft_train.trainer import training_arguments

SETTINGS = {
    "base_model": "m",
    "datasets": [{"path": "a.jsonl"}],
    "learning_rate": 1e-3,
    "attn_implementation": "sft_varlen",
    "context_parallel_size": 2,
}


def test_one_process_cannot_share_rows(tmp_path: Path) -> None:
    cfg = parse_config(json.dumps(SETTINGS | {"output_dir": str(tmp_path)}))
    with pytest.raises(ConfigError, match="1 process cannot share rows in groups of 2"):
        training_arguments(cfg, Compute(bf16=False, use_cpu=True))
    with pytest.raises(ConfigError, match="3 processes cannot share rows in groups of 2"):
        check_context_size(cfg, 3)
    check_context_size(cfg, 4)


@pytest.mark.parametrize(
    ("changes", "size", "method", "message"),
    [
        ({"num_attention_heads": 6}, 4, "ulysses", "6 query heads do not divide among 4 ranks"),
        ({"num_attention_heads": 12, "num_key_value_heads": 6}, 4, "ulysses", "6 key heads neither divide"),
        (
            {"num_attention_heads": 4, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            2,
            "ring",
            "kind 'dynamic'",
        ),
    ],
)
def test_what_a_config_shows_is_refused(changes: dict[str, Any], size: int, method: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _check_config(LlamaConfig(hidden_size=48, **changes), ContextMesh(0, 1, 0, size, method))
    _check_config(LlamaConfig(hidden_size=48, num_attention_heads=8), ContextMesh(0, 1, 0, size, method))
