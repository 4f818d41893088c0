"""A packed row trains exactly as its samples would one by one, whatever keeps them apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    set_seed,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from sft_data import Prepared, pack_row, plan_packs, prepare
from sft_kernels import flash_attn_varlen_func, use_backend, validate_cu_seqlens
from sft_kernels.transformers import register_attention
from sft_schema import parse_config
from sft_schema.config import PackingSection
from sft_schema.record import TokenizedSample
from sft_train.loss import ForwardCall, forward_call, next_token_nll
from sft_train.testing import tiny_model, write_conversations
from sft_train.trainer.rows import to_tensors

torch.set_num_threads(1)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
SHAPE = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.1,
}
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(head_dim=8, **SHAPE)),
    "mistral, window of 40": lambda: MistralForCausalLM(MistralConfig(sliding_window=40, **SHAPE)),
}
VARLEN = "varlen_reference"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Real rows: conversations through the template, masks and tokenizer."""
    folder = tmp_path_factory.mktemp("packed")
    tiny_model(folder / "model", weights=False)
    write_conversations(folder / "train.jsonl", 9, seed=5)
    return prepare(
        parse_config(
            f"base_model: {folder / 'model'}\ndatasets: [{{path: {folder / 'train.jsonl'}}}]\n"
            f"dataset_prepared_path: {folder / 'prepared'}\nlearning_rate: 1e-3\nsequence_len: 512\n"
            "sample_packing: true\n"
        )
    )


@pytest.fixture(scope="module")
def samples(prepared: Prepared) -> list[TokenizedSample]:
    """The samples of the first packed row."""
    return [prepared.train[int(index)] for index in first_row(prepared)]


@pytest.fixture(scope="module")
def packed(prepared: Prepared) -> dict[str, Any]:
    """The same samples as the trainer would get them."""
    return to_tensors([pack_row(prepared.train, first_row(prepared))])


@pytest.fixture
def varlen_backend() -> Iterator[str]:
    """sft_kernels' reference as an attention backend that lives on sample boundaries alone."""
    ALL_ATTENTION_FUNCTIONS[VARLEN] = attend_by_boundaries
    yield VARLEN
    del ALL_ATTENTION_FUNCTIONS[VARLEN]


def first_row(prepared: Prepared) -> NDArray[np.int64]:
    plan = plan_packs(prepared.train.lengths, PackingSection(sequence_len=512, sample_packing=True), epoch=0)
    row = plan.row(0)
    assert len(row) >= 3
    return row


def attend_by_boundaries(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, scaling: float, **kwargs: Any
) -> tuple[Tensor, None]:
    assert attention_mask is None
    window = kwargs.get("sliding_window")
    out = flash_attn_varlen_func(
        *(each[0].transpose(0, 1) for each in (query, key, value)),
        kwargs["cu_seq_lens_q"],
        kwargs["cu_seq_lens_k"],
        kwargs["max_length_q"],
        kwargs["max_length_k"],
        softmax_scale=scaling,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
    )
    return out[None], None


def build(family: str, attention: str) -> PreTrainedModel:
    set_seed(11)
    register_attention()
    model = FAMILIES[family]()
    model.set_attn_implementation(attention)
    return model


def one_by_one(model: PreTrainedModel, samples: list[TokenizedSample]) -> Tensor:
    """Summed loss of samples that never meet: each alone in a forward pass, with nothing but its tokens."""
    total = torch.zeros(())
    for sample in samples:
        ids, labels = (torch.tensor(each.tolist()) for each in (sample.input_ids, sample.labels))
        logits = model(input_ids=ids[None]).logits[0, :-1]
        total = total + functional.cross_entropy(logits, labels[1:], reduction="sum")
    return total


def gradients(model: PreTrainedModel, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters()}


@pytest.mark.parametrize("attention", ["eager", "sdpa", "sft_varlen"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_of_a_packed_row_are_the_sum_of_its_samples(
    family: str, attention: str, samples: list[TokenizedSample], packed: dict[str, Any]
) -> None:
    model = build(family, attention)
    count = packed["targets"].numel()
    together = next_token_nll(model, packed, forward_call(model, attention)) / count
    apart = one_by_one(model, samples) / count
    torch.testing.assert_close(together, apart, **TOLERANCE)
    found, wanted = gradients(model, together), gradients(model, apart)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], **TOLERANCE)


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "ffd", "spfhp", "sequential", "wrapped"])
def test_rows_of_every_strategy_are_the_sum_of_what_they_hold(strategy: str, prepared: Prepared) -> None:
    """Samples; with `wrapped` pieces of them, each as if there were nothing else of its sample."""
    values = {"sequence_len": 512, "sample_packing": True, "packing_strategy": strategy}
    plan = plan_packs(prepared.train.lengths, PackingSection.model_validate(values))
    assert (plan.cuts > 0) is (strategy == "wrapped")
    model = build("llama", "sdpa")
    for index in range(min(3, len(plan))):
        row = plan.row(index)
        held = [prepared.train[int(sample)] for sample in row.reshape(len(row), -1)[:, 0]]
        if row.ndim == 2:
            windows = [slice(start, stop) for _, start, stop in row.tolist()]
            held = [
                TokenizedSample(sample.input_ids[window], sample.labels[window], sample.origin)
                for sample, window in zip(held, windows, strict=True)
            ]
        batch = to_tensors([pack_row(prepared.train, row)])
        count = max(1, batch["targets"].numel())
        together = next_token_nll(model, batch, forward_call(model, "sdpa")) / count
        apart = one_by_one(model, held) / count
        torch.testing.assert_close(together, apart, **TOLERANCE)
        found, wanted = gradients(model, together), gradients(model, apart)
        for name in wanted:
            torch.testing.assert_close(found[name], wanted[name], **TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_boundaries_handed_to_a_varlen_backend_do_the_same(
    family: str, varlen_backend: str, samples: list[TokenizedSample], packed: dict[str, Any]
) -> None:
    """The call that flash attention gets, with the kernel's meaning written out in plain torch."""
    model, separate = build(family, varlen_backend), build(family, "eager")
    count = packed["targets"].numel()
    together = next_token_nll(model, packed, ForwardCall(logits_to_keep=True, varlen=True)) / count
    apart = one_by_one(separate, samples) / count
    torch.testing.assert_close(together, apart, **TOLERANCE)
    found, wanted = gradients(model, together), gradients(separate, apart)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], **TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_our_attention_written_out_does_the_same(
    family: str, samples: list[TokenizedSample], packed: dict[str, Any]
) -> None:
    """The reference, which softcap and sinks fall back to, and which `torch.compile` traces."""
    with use_backend("reference", "varlen_attention"):
        test_loss_and_gradients_of_a_packed_row_are_the_sum_of_its_samples(family, "sft_varlen", samples, packed)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_of_a_layer_equals_the_varlen_reference(attention: str, packed: dict[str, Any]) -> None:
    model, seen = build("llama", attention), []
    real = ALL_ATTENTION_FUNCTIONS.get_interface(attention, eager_attention_forward)

    def record(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
        out = real(module, query, key, value, mask, **kwargs)
        seen.append((query, key, value, out[0], kwargs["scaling"]))
        return out

    ALL_ATTENTION_FUNCTIONS[attention] = record
    try:
        with torch.no_grad():
            next_token_nll(model, packed, forward_call(model, attention))
    finally:
        del ALL_ATTENTION_FUNCTIONS[attention]
    cu_seqlens, longest = packed["cu_seqlens"], packed["max_seqlen"]
    validate_cu_seqlens(cu_seqlens, packed["input_ids"].shape[1])
    assert len(seen) == 2
    for query, key, value, out, scaling in seen:
        q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
        wanted = flash_attn_varlen_func(
            q, k, v, cu_seqlens, cu_seqlens, longest, longest, softmax_scale=scaling, causal=True
        )
        torch.testing.assert_close(out[0], wanted, **TOLERANCE)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="flex attention on a CPU is compiled, and there is no g++")
def test_flex_attention_forward_of_a_packed_row(samples: list[TokenizedSample], packed: dict[str, Any]) -> None:
    """Forward alone, in the compiled form: flex attention has no backward pass on a CPU."""
    with torch.no_grad():
        model = build("llama", "flex_attention")
        together = next_token_nll(model, packed, forward_call(model, "flex_attention"))
        apart = one_by_one(build("llama", "eager"), samples)
    torch.testing.assert_close(together, apart, **TOLERANCE)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_mask_of_ones_lets_samples_see_one_another(
    family: str, attention: str, samples: list[TokenizedSample], packed: dict[str, Any]
) -> None:
    """The negative control: with the mistake that this design avoids, the comparison above fails."""
    model = build(family, attention)
    with torch.no_grad():
        logits = model(
            input_ids=packed["input_ids"],
            position_ids=packed["position_ids"],
            attention_mask=torch.ones_like(packed["input_ids"]),
            use_cache=False,
            logits_to_keep=packed["predict_at"],
        ).logits[0]
        leaked = functional.cross_entropy(logits, packed["targets"])
        apart = one_by_one(model, samples) / packed["targets"].numel()
    assert abs(leaked - apart) > 1e-3
