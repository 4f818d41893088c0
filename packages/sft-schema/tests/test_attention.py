"""The table of backends, what is computed from it, and what a model needs of it."""

import dataclasses

import pytest

from sft_schema import BACKENDS
from sft_schema.attention import (
    ALL_BACKENDS,
    HUB_KERNEL,
    LEAKS,
    AttentionBackend,
    AttentionNeeds,
    find_backend,
    needs_of,
    packing_leak,
    sharing_setting,
    unmet,
)

UNBUILT = ["flash_attention_4", "torch_varlen", "xformers", "sage"]


def test_rows_that_can_be_chosen_are_the_ones_that_something_implements() -> None:
    assert list(BACKENDS) == ["eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "sft_varlen"]
    assert [name for name, row in ALL_BACKENDS.items() if not row.available] == UNBUILT
    assert all(row.missing for row in ALL_BACKENDS.values() if not row.available)
    assert all(name == row.name for name, row in ALL_BACKENDS.items())


def test_a_row_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        BACKENDS["sdpa"].sinks = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "packing", "flash", "cast"),
    [
        ("eager", True, False, False),
        ("sdpa", True, False, False),
        ("flex_attention", True, False, False),
        ("flash_attention_2", True, True, True),
        ("flash_attention_3", True, True, True),
        ("flash_attention_4", True, True, True),
        ("sft_varlen", True, False, False),
        ("torch_varlen", True, False, True),
        ("org/name", False, False, True),
    ],
)
def test_the_flags_are_computed_from_the_row(name: str, packing: bool, flash: bool, cast: bool) -> None:
    row = find_backend(name)
    assert row is not None
    assert (row.attn_supports_packing, row.attn_uses_flash_lib, row.attn_needs_dtype_cast) == (packing, flash, cast)


@pytest.mark.parametrize("name", ["kernels-community/flash-attn3", "some/kernel@v2", "some/kernel:forward", "a/b@c:d"])
def test_every_kernel_of_the_hub_has_the_row_of_the_pattern(name: str) -> None:
    row = find_backend(name)
    assert row == dataclasses.replace(HUB_KERNEL, name=name)
    assert not row.available


@pytest.mark.parametrize("name", ["", "flash", "a/", "/b", "a/b/c", "a b/c", "sdpa "])
def test_other_names_have_no_row(name: str) -> None:
    assert find_backend(name) is None


def test_a_short_row_promises_nothing() -> None:
    row = AttentionBackend("own", "varlen", None, ("float32",), on_cpu=True)
    needs = AttentionNeeds(sliding_window=True, softcap=True, sinks=True, context_parallel=True)
    assert unmet(row, needs) == (
        "has no sliding window",
        "has no softcap",
        "has no attention sinks",
        "has no context parallelism",
    )
    assert unmet(row, AttentionNeeds(head_dims=(8, 999), sm=50)) == ()


GPT_OSS = {
    "model_type": "gpt_oss",
    "head_dim": 64,
    "sliding_window": 128,
    "num_attention_heads": 64,
    "hidden_size": 2880,
}
GEMMA2 = {"model_type": "gemma2", "head_dim": 256, "sliding_window": 4096, "attn_logit_softcapping": 50.0}
GEMMA4 = {"model_type": "gemma4", "text_config": {"model_type": "gemma4_text", "head_dim": 256, "global_head_dim": 512}}
QWEN2 = {"hidden_size": 896, "num_attention_heads": 14, "sliding_window": 4096, "use_sliding_window": False}
DEEPSEEK = {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "hidden_size": 7168, "num_attention_heads": 128}


def test_needs_are_read_off_the_models_config() -> None:
    assert needs_of(GPT_OSS) == AttentionNeeds(head_dims=(64,), sliding_window=True, sinks=True)
    assert needs_of(GEMMA2) == AttentionNeeds(head_dims=(256,), sliding_window=True, softcap=True)
    assert needs_of(GEMMA4).head_dims == (256, 512)
    assert needs_of(QWEN2, sm=90) == AttentionNeeds(head_dims=(64,), sm=90)
    assert needs_of(DEEPSEEK).head_dims == (192,)
    assert needs_of({}) == AttentionNeeds()


def test_what_would_be_dropped_in_silence_is_named() -> None:
    flash, sdpa = BACKENDS["flash_attention_2"], BACKENDS["sdpa"]
    assert unmet(flash, needs_of(GPT_OSS, sm=90)) == ("has no attention sinks",)
    assert unmet(sdpa, needs_of(GEMMA2)) == ("has no softcap",)
    assert unmet(BACKENDS["eager"], needs_of(GPT_OSS)) == ()
    assert unmet(flash, needs_of(GEMMA4)) == ("takes head dimensions up to 256, and the model has 512",)
    flash3 = BACKENDS["flash_attention_3"]
    assert unmet(flash3, AttentionNeeds(head_dims=(100,), sm=100)) == (
        "takes head dimensions up to 256 in multiples of 8, and the model has 100",
        "needs compute capability 8.0, 8.6, 8.7, 8.9, 9.0, and this GPU has 10.0",
    )
    assert unmet(flash, AttentionNeeds(sm=75)) == ("needs compute capability 8.0 or newer, and this GPU has 7.5",)


@pytest.mark.parametrize(
    ("model_type", "said"),
    [
        ("mamba2", "state-space layers carry their state"),
        ("jamba", "state-space layers"),
        ("qwen3_next", "linear attention carries its state"),
        ("lfm2", "convolutions reach"),
        ("recurrent_gemma", "recurrent layers"),
        ("deepseek_v4", "compressed keys"),
        ("gpt_oss", "mask is built without position_ids"),
    ],
)
def test_a_model_that_mixes_samples_is_named_with_its_reason(model_type: str, said: str) -> None:
    reason = packing_leak(model_type)
    assert reason is not None
    assert reason.startswith(f"{model_type}: ")
    assert said in reason


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "mistral", "gemma3", "phi3", "qwen3_moe", ""])
def test_other_models_may_share_rows(model_type: str) -> None:
    assert packing_leak(model_type) is None


def test_a_mask_without_positions_does_not_matter_where_boundaries_are_handed_over() -> None:
    assert packing_leak("gpt_oss", isolation="varlen") is None
    assert packing_leak("mamba", isolation="varlen") is not None
    both, one = packing_leak("granitemoehybrid"), packing_leak("granitemoehybrid", isolation="varlen")
    assert both is not None
    assert one is not None
    assert both.startswith(f"{one}; ")


def test_layer_types_decide_where_a_config_has_them() -> None:
    attention, hybrid = ["full_attention", "sliding_attention"], ["full_attention", "linear_attention"]
    assert packing_leak("qwen3_next", layer_types=attention) is None
    assert packing_leak("qwen3_next", layer_types=hybrid) == packing_leak("qwen3_next")
    assert packing_leak("gpt_oss", layer_types=attention) == packing_leak("gpt_oss")
    assert packing_leak("brand_new", layer_types=attention) is None
    reason = packing_leak("brand_new", layer_types=[*hybrid, "conv"])
    assert reason is not None
    assert "convolutions" in reason
    assert "linear attention" in reason
    assert packing_leak("mamba2", layer_types=["something_unheard_of"]) is not None


def test_every_row_of_the_leaks_has_a_cause() -> None:
    assert all(row.causes and name == row.model_type for name, row in LEAKS.items())


@dataclasses.dataclass(frozen=True)
class Rows:
    sample_packing: bool = False
    micro_batch_size: int = 1
    eval_batch_size: int = 1
    processor_type: str | None = None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (Rows(), None),
        (Rows(sample_packing=True), "sample_packing true"),
        (Rows(micro_batch_size=2), "micro_batch_size 2"),
        (Rows(eval_batch_size=3), "eval_batch_size 3"),
        (Rows(micro_batch_size=2, processor_type="AutoProcessor"), None),
    ],
)
def test_the_setting_that_makes_samples_share_a_row_is_named(rows: Rows, said: str | None) -> None:
    assert sharing_setting(rows) == said
