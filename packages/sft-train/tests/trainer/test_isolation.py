from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from sft_kernels.transformers import register_attention
from sft_schema import ConfigError, SftConfig
from sft_train.loss import forward_call
from sft_train.trainer import check_isolation

MakeConfig = Callable[..., SftConfig]


class AllOnes(nn.Module):
    """The mistake that leaks: a mask of ones hides the boundaries from transformers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def forward(self, input_ids: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        mask = torch.ones_like(input_ids)
        return self.model(input_ids=input_ids, attention_mask=mask, logits_to_keep=logits_to_keep, **kwargs)


class NoPositions(AllOnes):
    """Another: positions that run on over boundaries."""

    def forward(self, input_ids: Any, position_ids: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        return self.model(input_ids=input_ids, logits_to_keep=logits_to_keep, **kwargs)


@pytest.mark.parametrize("name", ["eager", "sdpa", "sft_varlen"])
def test_isolating_model_passes_and_keeps_its_mode(config: MakeConfig, model_folder: Path, name: str) -> None:
    register_attention()
    model = AutoModelForCausalLM.from_pretrained(model_folder, attn_implementation=name).train()
    check_isolation(model, config(attn_implementation=name), forward_call(model, name))
    assert model.training


@pytest.mark.parametrize("wrong", [AllOnes, NoPositions])
def test_leaking_model_is_refused(config: MakeConfig, model_folder: Path, wrong: type[AllOnes]) -> None:
    model = wrong(AutoModelForCausalLM.from_pretrained(model_folder))
    with pytest.raises(ConfigError, match=r"mixes samples that share a row: outputs differ by 0\.\d"):
        check_isolation(model, config(), forward_call(model, "sdpa"))


def test_flash_path_without_its_kernel_would_be_caught(config: MakeConfig, model_folder: Path) -> None:
    """Handing boundaries to attention that does not know them changes nothing: position_ids still isolate."""
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    check_isolation(model, config(), forward_call(model, "flash_attention_2"))


def test_leaking_model_may_train_samples_that_never_share_a_row(config: MakeConfig, model_folder: Path) -> None:
    model = AllOnes(AutoModelForCausalLM.from_pretrained(model_folder))
    alone = {"sample_packing": "false", "micro_batch_size": "1", "eval_batch_size": "1"}
    check_isolation(model, config(**alone), forward_call(model, "sdpa"))
    for setting in ("micro_batch_size", "eval_batch_size"):
        with pytest.raises(ConfigError, match="mixes samples"):
            check_isolation(model, config(**alone | {setting: "2"}), forward_call(model, "sdpa"))
