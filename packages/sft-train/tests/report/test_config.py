from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sft_schema import SftConfig, load_config
from sft_train.report import write_config

MakeConfig = Callable[..., SftConfig]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"adapter": "lora", "lora_target_modules": "[q_proj, v_proj]", "lora_dropout": "0.1"},
        {"chat_template": "jinja", "chat_template_jinja": "\"{{ 'ü: #' }}\\n{# x #}\"", "learning_rate": "1e-5"},
        {"special_tokens": '{pad_token: "<|pad|>"}', "chat_template_kwargs": "{enable_thinking: false}"},
        {"warmup_ratio": "0.1", "resume_from_checkpoint": "true", "eval_steps": "5", "eval_strategy": "steps",
         "val_set_size": "3"},
    ],
)  # fmt: skip
def test_written_config_reads_back_as_the_same(config: MakeConfig, tmp_path: Path, settings: dict[str, str]) -> None:
    cfg = config(**settings)
    write_config(cfg, tmp_path / "sft_config.yaml")
    assert load_config(tmp_path / "sft_config.yaml").model_dump() == cfg.model_dump()
