from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from sft_data import collate
from sft_schema import IGNORE_INDEX, ConfigError
from sft_schema.record import PackedRow
from sft_train.loss import ForwardCall, forward_call, next_token_nll
from sft_train.trainer.rows import to_tensors


@pytest.fixture(scope="module")
def model(model_folder: Path) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(model_folder)


def row(lengths: list[int], trained: float = 0.5, seed: int = 0) -> PackedRow:
    random = np.random.default_rng(seed)
    ids = random.integers(3, 250, sum(lengths)).astype(np.int32)
    labels = np.where(random.random(len(ids)) < trained, ids, IGNORE_INDEX).astype(np.int32)
    cu_seqlens = np.cumsum([0, *lengths]).astype(np.int32)
    labels[cu_seqlens[:-1]] = IGNORE_INDEX
    return PackedRow(ids, labels, cu_seqlens, np.arange(len(lengths)))


class NoLogitsToKeep(nn.Module):
    """A model of the old kind: its forward names its arguments and computes all logits."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, position_ids: Any, use_cache: bool) -> Any:
        return self.model(input_ids=input_ids, position_ids=position_ids, use_cache=use_cache)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(2, 20), min_size=1, max_size=4), st.integers(0, 10_000))
def test_sum_equals_cross_entropy_written_out(model: LlamaForCausalLM, lengths: list[int], seed: int) -> None:
    packed = row(lengths, seed=seed)
    batch = to_tensors([packed])
    found = next_token_nll(model, batch, forward_call(model, "sdpa"))
    logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
    wanted = torch.tensor(0.0)
    for position, label in enumerate(packed.labels.tolist()):
        if label != IGNORE_INDEX:
            wanted = wanted - logits[position - 1].log_softmax(-1)[label]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_model_without_logits_to_keep_gives_the_same(model: LlamaForCausalLM) -> None:
    batch, old = to_tensors([row([7, 9])]), NoLogitsToKeep(model)
    call = forward_call(old, "sdpa")
    assert not call.logits_to_keep
    torch.testing.assert_close(
        next_token_nll(old, batch, call), next_token_nll(model, batch, forward_call(model, "sdpa"))
    )


def test_signature_is_read_through_an_adapter(model_folder: Path) -> None:
    bare = AutoModelForCausalLM.from_pretrained(model_folder)
    adapted = get_peft_model(bare, LoraConfig(target_modules=["q_proj"]))
    assert forward_call(adapted, "sdpa") == ForwardCall(logits_to_keep=True, varlen=False)


def test_varlen_backend_needs_a_forward_that_takes_boundaries(model: LlamaForCausalLM) -> None:
    assert forward_call(model, "flash_attention_2").varlen
    with pytest.raises(ConfigError, match="NoLogitsToKeep does not hand sample boundaries"):
        forward_call(NoLogitsToKeep(model), "flash_attention_2")


def test_varlen_call_hands_on_boundaries(model: LlamaForCausalLM) -> None:
    seen: dict[str, Any] = {}
    handle = model.model.register_forward_pre_hook(lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True)
    next_token_nll(model, to_tensors([row([7, 9])]), ForwardCall(logits_to_keep=True, varlen=True))
    handle.remove()
    assert seen["cu_seq_lens_q"].tolist() == seen["cu_seq_lens_k"].tolist() == [0, 7, 16]
    assert seen["cu_seq_lens_q"].dtype == torch.int32
    assert (seen["max_length_q"], seen["max_length_k"]) == (9, 9)
    assert seen["attention_mask"] is None


@pytest.mark.parametrize("logits_to_keep", [True, False])
def test_batch_with_nothing_to_train_keeps_every_weight_in_the_graph(model_folder: Path, logits_to_keep: bool) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    loss = next_token_nll(model, to_tensors([row([5], trained=0)]), ForwardCall(logits_to_keep, varlen=False))
    loss.backward()
    assert loss.item() == 0
    assert all(each.grad is not None and not each.grad.any() for each in model.parameters())


def test_loss_is_float32_under_bfloat16_autocast(model: LlamaForCausalLM) -> None:
    batch = to_tensors([row([7, 9])])
    with torch.autocast("cpu", torch.bfloat16):
        loss = next_token_nll(model, batch, forward_call(model, "sdpa"))
    assert loss.dtype == torch.float32


def test_positions_predict_the_token_after_them() -> None:
    packed = PackedRow(
        np.array([10, 11, 12, 13, 20, 21, 22], dtype=np.int32),
        np.array([IGNORE_INDEX, IGNORE_INDEX, 12, 13, IGNORE_INDEX, 21, 22], dtype=np.int32),
        np.array([0, 4, 7], dtype=np.int32),
        np.array([0, 1]),
    )
    batch = to_tensors([packed])
    assert batch["predict_at"].tolist() == [1, 2, 4, 5]
    assert batch["targets"].tolist() == [12, 13, 21, 22]
    assert batch["position_ids"].tolist() == collate([packed]).position_ids.tolist()
