"""Models of transformers with the triton kernels: documents packed into rows compute what they compute alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sft_kernels import use_backend
from sft_kernels.testing.inputs import random

transformers = pytest.importorskip("transformers", reason="needs transformers")

SHAPE: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64, "head_dim": 8, "initializer_range": 0.2,
    "pad_token_id": 0,
}  # fmt: skip
WINDOW = {"sliding_window": 4, "layer_types": ["sliding_attention"]}
MIXTURE = {"num_local_experts": 2, "num_experts_per_tok": 1}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {  # config, model, settings of its own
    "Llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "Mistral": ("MistralConfig", "MistralForCausalLM", {"sliding_window": 4}),
    "Gemma 2": ("Gemma2Config", "Gemma2ForCausalLM", {**WINDOW, "attn_logit_softcapping": 2.0}),
    "Gemma 3": ("Gemma3TextConfig", "Gemma3ForCausalLM", WINDOW),
    "Qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {}),
    "Phi-3": ("Phi3Config", "Phi3ForCausalLM", {"sliding_window": 4}),
    "GPT-OSS": ("GptOssConfig", "GptOssForCausalLM", {**WINDOW, **MIXTURE}),
    "Mixtral": ("MixtralConfig", "MixtralForCausalLM", MIXTURE),
    "Qwen3-MoE": (
        "Qwen3MoeConfig",
        "Qwen3MoeForCausalLM",
        {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16},
    ),
}
LENGTHS = ((5, 8, 1), (3, 11))


def outcome(model: Any, logits: Tensor) -> list[Tensor]:
    """Logits, and gradients of all weights that have one."""
    weights = [each for each in model.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(logits.square().mean(), weights, allow_unused=True)
    return [logits, *(torch.zeros_like(w) if g is None else g for w, g in zip(weights, gradients, strict=True))]


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_equal_separate_documents(family: str) -> None:
    from sft_kernels.transformers import register_attention

    config, model_class, changes = FAMILIES[family]
    torch.manual_seed(0)
    settings = getattr(transformers, config)(**{**SHAPE, **changes})
    model = getattr(transformers, model_class)._from_config(settings, attn_implementation="eager")
    if family == "GPT-OSS":
        torch.nn.init.normal_(model.model.layers[0].self_attn.sinks)
    model = model.to(random(1).device)
    positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in LENGTHS]).to(model.device)
    ids = (positions * 7 + torch.arange(14, device=model.device) * 3 + 1) % 32
    alone = [
        torch.cat([model(input_ids=each[None], use_cache=False).logits for each in row.split(lengths)], 1)
        for row, lengths in zip(ids, LENGTHS, strict=True)
    ]
    expected = outcome(model, torch.cat(alone))
    model.set_attn_implementation(register_attention())
    with use_backend("triton", "varlen_attention"):
        found = outcome(model, model(input_ids=ids, position_ids=positions, use_cache=False).logits)
    for actual, right in zip(found, expected, strict=True):
        torch.testing.assert_close(actual, right, rtol=1e-3, atol=1e-4 * float(right.abs().max()) + 1e-6)
    leaked = model(
        input_ids=ids, position_ids=torch.arange(14, device=model.device)[None].expand(2, -1), use_cache=False
    )
    assert (leaked.logits - expected[0]).abs().max() > 1e-2
