from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from sft_train.trainer.speed import PEAKS, flops_per_token, peak_memory, speed_of


def llama(*, tied: bool = False) -> LlamaForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=10, tie_word_embeddings=tied, **sizes))


def test_each_weight_of_a_product_costs_six_and_a_frozen_one_four() -> None:
    in_layers, head = 4 * 64 + 3 * 128, 80
    assert flops_per_token(llama()) == 6 * (in_layers + head)
    assert flops_per_token(llama(tied=True)) == 6 * (in_layers + head)
    frozen = llama().requires_grad_(False)
    frozen.lm_head.requires_grad_(True)
    assert flops_per_token(frozen) == 4 * in_layers + 6 * head


def test_the_share_is_of_all_devices() -> None:
    speed = speed_of(llama(), "NVIDIA H100 80GB HBM3", 2)
    assert speed is not None
    assert speed.share(1e9) == pytest.approx(1e9 * flops_per_token(llama()) / (2 * 989e12))
    assert speed_of(llama(), "a GPU of next year", 1) is None
    assert speed_of(nn.Linear(1, 1), None, 1) is None


def test_a_name_is_not_taken_for_another_that_it_contains() -> None:
    for at, (name, _) in enumerate(PEAKS):
        assert not [other for other, _ in PEAKS[:at] if other in name], name


def test_a_cpu_has_no_peak_memory_of_its_own() -> None:
    assert peak_memory(torch.device("cpu")) == {}
