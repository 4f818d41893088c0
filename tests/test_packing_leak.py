"""The table of models whose samples mix is true: tiny models of both kinds are measured."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from sft_kernels.transformers import register_attention
from sft_schema.attention import LEAKS, packing_leak

SMALL: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "intermediate_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 128, "pad_token_id": 0, "state_size": 16, "num_heads": 8,
    "expand": 2, "n_groups": 1, "chunk_size": 16, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16, "lru_width": 64,
    "attention_hidden_size": 64, "max_position_embeddings": 128, "block_size": 16, "ffn_dim": 64,
    "word_embed_proj_dim": 64, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1,
    "mamba_chunk_size": 16, "shared_intermediate_size": 64,
}  # fmt: skip
FIRST, SECOND = 17, 23
LAYERS: dict[str, tuple[str, ...]] = {
    "lfm2": ("conv", "full_attention", "conv", "conv"),
    "lfm2 without convolutions": ("full_attention",) * 4,
}


def model_of(name: str) -> Any:
    kind = CONFIG_MAPPING[name.split()[0]]
    fields = {key: value for key, value in SMALL.items() if hasattr(kind(), key)}
    if name in LAYERS:
        fields["layer_types"] = list(LAYERS[name])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**fields), dtype=torch.float32, attn_implementation="eager").eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def change_of_second(model: Any, **boundaries: Any) -> float:
    """How much the second sample's logits change, of the largest, when the first sample is another one."""
    ids = torch.randint(3, 100, (1, FIRST + SECOND), generator=torch.Generator().manual_seed(1))
    other = ids.clone()
    other[:, :FIRST] = torch.randint(3, 100, (1, FIRST), generator=torch.Generator().manual_seed(2))
    positions = torch.cat([torch.arange(FIRST), torch.arange(SECOND)])[None]
    with torch.no_grad():
        first, second = (
            model(each, position_ids=positions, use_cache=False, **boundaries).logits[:, FIRST:]
            for each in (ids, other)
        )
    return float((first - second).abs().max() / first.abs().max())


@pytest.mark.parametrize(
    "name", ["mamba2", "qwen3_next", "lfm2", "recurrent_gemma", "gpt_oss", "opt", "granitemoehybrid"]
)
def test_a_model_of_the_table_mixes_samples(name: str) -> None:
    model = model_of(name)
    assert packing_leak(name, layer_types=getattr(model.config, "layer_types", None)) is not None
    assert change_of_second(model) > 0.05


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gemma3_text", "lfm2 without convolutions"])
def test_a_model_that_the_function_lets_pass_does_not(name: str) -> None:
    model = model_of(name)
    assert packing_leak(name.split()[0], layer_types=getattr(model.config, "layer_types", None)) is None
    assert change_of_second(model) < 1e-6


def test_a_model_whose_mask_mixes_samples_does_not_with_attention_that_gets_boundaries() -> None:
    ends = torch.tensor([0, FIRST, FIRST + SECOND], dtype=torch.int32)
    boundaries = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": SECOND, "max_length_k": SECOND}
    model = model_of("gpt_oss")
    assert packing_leak("gpt_oss", isolation="varlen") is None
    model.set_attn_implementation(register_attention())
    assert change_of_second(model, **boundaries) < 1e-6


def test_every_row_names_a_model_type_of_transformers() -> None:
    """A row may be ahead of the oldest transformers that this project supports, but not all of them."""
    known = {name for name in LEAKS if name in CONFIG_MAPPING}
    assert len(known) > 30
    assert {"mamba", "jamba", "qwen3_next", "gpt_oss", "falcon", "opt"} <= known
