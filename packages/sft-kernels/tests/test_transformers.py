"""Models of transformers with our attention: packed rows equal separate ones, and padding is never attended to."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sft_kernels import cu_seqlens_from_position_ids

transformers = pytest.importorskip("transformers", reason="needs transformers")

SHAPE: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8, "initializer_range": 0.2,
    "pad_token_id": 0,
}  # fmt: skip
MIXTURE = {"num_local_experts": 2, "num_experts_per_tok": 1}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {}),
    "mistral": ("MistralConfig", "MistralForCausalLM", {"sliding_window": 4}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {"sliding_window": 4, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {"sliding_window": 4}),
    "gpt_oss": ("GptOssConfig", "GptOssForCausalLM", {"sliding_window": 4, **MIXTURE}),
}  # fmt: skip
LENGTHS = ((5, 8, 1), (3, 11))
POSITIONS = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in LENGTHS])
IDS = torch.randint(1, 64, (2, 14), generator=torch.Generator().manual_seed(0))
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(autouse=True)
def registered() -> None:
    from sft_kernels.transformers import register_attention

    assert register_attention() == "sft_varlen"


def build(family: str, attention: str = "eager", **changes: Any) -> Any:
    config, model, extra = FAMILIES[family]
    torch.manual_seed(0)
    settings = getattr(transformers, config)(**{**SHAPE, **extra, **changes})
    return getattr(transformers, model)._from_config(settings, attn_implementation=attention).train()


def one_by_one(model: Any) -> Tensor:
    rows = []
    for ids, lengths in zip(IDS, LENGTHS, strict=True):
        rows.append(torch.cat([model(input_ids=each[None], use_cache=False).logits for each in ids.split(lengths)], 1))
    return torch.cat(rows)


def assert_equal_with_gradients(model: Any, call: Callable[[], Tensor], expected: Tensor) -> None:
    weights = [each for each in model.parameters() if each.requires_grad]
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    wanted = torch.autograd.grad(expected, weights, direction, allow_unused=True)
    actual = call()
    torch.testing.assert_close(actual, expected, **CLOSE)
    for found, right in zip(torch.autograd.grad(actual, weights, direction, allow_unused=True), wanted, strict=True):
        if right is not None:
            torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-4 * float(right.abs().max()) + 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_equal_separate_ones(family: str) -> None:
    model = build(family)
    expected = one_by_one(model)
    model.set_attn_implementation("sft_varlen")
    call = lambda: model(input_ids=IDS, position_ids=POSITIONS, use_cache=False).logits  # noqa: E731
    assert_equal_with_gradients(model, call, expected)


def test_boundaries_may_be_given_and_a_mask_of_ones_does_not_hide_them() -> None:
    model = build("llama")
    expected = one_by_one(model)
    model.set_attn_implementation("sft_varlen")
    ends = cu_seqlens_from_position_ids(POSITIONS)
    given = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": 11, "max_length_k": 11}
    for extra in (given, {"attention_mask": torch.ones_like(IDS)}):
        found = model(input_ids=IDS, position_ids=POSITIONS, use_cache=False, **extra).logits
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt_oss"])
def test_padding_is_never_attended_to(family: str, side: str) -> None:
    model = build(family).eval()
    mask = torch.ones_like(IDS)
    mask[0, slice(5) if side == "left" else slice(9, None)] = 0
    arguments = {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0), "use_cache": False}
    with torch.no_grad():
        expected = model(input_ids=IDS, **arguments).logits
        model.set_attn_implementation("sft_varlen")
        found = model(input_ids=IDS, **arguments).logits
        other = model(input_ids=torch.where(mask == 0, 1 + (IDS + 7) % 63, IDS), **arguments).logits
    kept = mask.bool()
    torch.testing.assert_close(found[kept], expected[kept], **CLOSE)
    assert torch.equal(found[kept], other[kept])


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt_oss"])
def test_generation_with_a_cache_and_padding(family: str) -> None:
    model, mask = build(family).eval(), torch.ones_like(IDS)
    mask[0, :5] = 0
    arguments = {"attention_mask": mask, "max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    expected = model.generate(IDS, **arguments)
    model.set_attn_implementation("sft_varlen")
    assert torch.equal(model.generate(IDS, **arguments), expected)


def test_position_ids_written_to_in_place_are_read_again() -> None:
    model, positions = build("llama", "sft_varlen").eval(), POSITIONS.clone()
    with torch.no_grad():
        model(input_ids=IDS, position_ids=positions, use_cache=False)
        positions.copy_(torch.arange(14))
        found = model(input_ids=IDS, position_ids=positions, use_cache=False).logits
        model.set_attn_implementation("eager")
        torch.testing.assert_close(found, model(input_ids=IDS, use_cache=False).logits, **CLOSE)


def test_float32_from_norms_is_cast_to_what_the_layers_compute_in() -> None:
    model = build("qwen3", "sft_varlen").bfloat16()
    for name, module in model.named_modules():
        if name.endswith("norm"):
            module.float()
            module.register_forward_hook(lambda _, __, out: out.float())
    for layer in model.model.layers:
        for name in ("input_layernorm", "post_attention_layernorm"):
            getattr(layer, name).register_forward_hook(lambda _, __, out: out.bfloat16())
    model.model.norm.register_forward_hook(lambda _, __, out: out.bfloat16())
    out = model(input_ids=IDS, position_ids=POSITIONS, use_cache=False).logits
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"position_ids": POSITIONS.expand(3, 2, 14)}, r"position_ids has shape \[3, 2, 14\]"),
        ({"dropout": 0.1}, "dropout of 0.1 in attention; set attention_dropout to 0"),
        ({"position_bias": torch.ones(1)}, "cannot use position_bias"),
        ({"padded": True, "given": True}, "cu_seq_lens_q together with padding"),
        ({"padded": True, "keys": 20}, "20 keys and a mask of 14; a static cache is not supported"),
    ],
)
def test_what_cannot_be_told_is_refused(arguments: dict[str, Any], message: str) -> None:
    from sft_kernels.transformers import attend

    layer = build("llama").model.layers[0].self_attn
    arguments = dict(arguments)
    mask = torch.ones(2, 14, dtype=torch.bool) if arguments.pop("padded", False) else None
    if arguments.pop("given", False):
        ends = cu_seqlens_from_position_ids(POSITIONS)
        arguments |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": 11, "max_length_k": 11}
    q, k = torch.ones(2, 4, 14, 8), torch.ones(2, 2, arguments.pop("keys", 14), 8)
    with pytest.raises(ValueError, match=message):
        attend(layer, q, k, k, mask, **arguments)


def test_attention_in_chunks_is_refused_where_a_row_is_longer_than_a_chunk() -> None:
    from sft_kernels.transformers import mask

    config = transformers.LlamaConfig(**SHAPE)
    config.attention_chunk_size = 8
    assert mask(1, 8, 8, None, config=config, local_size=8) is None
    assert mask(1, 9, 9, None, config=config, local_size=None) is None
    with pytest.raises(ValueError, match="attends in chunks of 8 tokens and the row has 9"):
        mask(1, 9, 9, None, config=config, local_size=8)


def test_importing_the_package_does_not_import_transformers() -> None:
    code = "import sys, sft_kernels; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
