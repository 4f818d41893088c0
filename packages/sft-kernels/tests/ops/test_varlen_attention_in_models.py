"""Models of transformers with the triton kernels compute what they compute with plain PyTorch."""

from typing import Any

import pytest
import torch

from sft_kernels import use_backend
from sft_kernels.testing.inputs import random

transformers = pytest.importorskip("transformers", reason="needs transformers")

SHAPE: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64, "head_dim": 8, "initializer_range": 0.2,
    "pad_token_id": 0,
}  # fmt: skip
MIXTURE = {"num_local_experts": 2, "num_experts_per_tok": 1}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("Llama", {}),
    "Gemma2": ("Gemma2", {"sliding_window": 4, "attn_logit_softcapping": 2.0}),
    "GptOss": ("GptOss", {"sliding_window": 4, "layer_types": ["sliding_attention"], **MIXTURE}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_with_kernels_is_the_model_without(family: str) -> None:
    from sft_kernels.transformers import register_attention

    name, changes = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, **changes})
    model_class = getattr(transformers, f"{name}ForCausalLM")
    torch.manual_seed(0)
    model = model_class._from_config(config, attn_implementation=register_attention()).to(random(1).device)
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7, 0], [0, 1, 2, *range(11)]]).to(model.device)
    ids = (positions * 7 + 1) % 32
    weights = [each for each in model.parameters() if each.requires_grad]
    results = []
    for backend in ("triton", "reference"):
        with use_backend(backend, "varlen_attention"):
            logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
            gradients = torch.autograd.grad(logits.square().mean(), weights, allow_unused=True)
        results.append([logits, *(each for each in gradients if each is not None)])
    for kernels, plain in zip(*results, strict=True):
        torch.testing.assert_close(kernels, plain, rtol=1e-4, atol=1e-5)
