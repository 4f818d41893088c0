"""Advice names what is unusual, with the usual range, and stops nothing."""

import pytest

from sft_schema import SftConfig, parse_config
from sft_schema.advice import MODEL_SIZES, USUAL_OPTIMIZERS, USUAL_RANGES, Advice, advice, model_billions

FULL = "base_model: m\ndatasets: [{path: a.jsonl}]\nlearning_rate: 2e-5\ngradient_accumulation_steps: 8\n"
LORA = FULL.replace("2e-5", "2e-4") + "adapter: lora\nlora_target_linear: true\nmicro_batch_size: 2\n"


def given(text: str) -> dict[str, Advice]:
    return {".".join(map(str, each.path)): each for each in advice(parse_config(text))}


@pytest.mark.parametrize(
    "text", [FULL, LORA, LORA + "lora_r: 64\nlora_alpha: 64\n", FULL + "val_set_size: 0.1\nevals_per_epoch: 4\n"]
)
def test_usual_configs_get_none(text: str) -> None:
    assert given(text) == {}


@pytest.mark.parametrize(
    ("text", "key", "value", "usual"),
    [
        (FULL.replace("2e-5", "2e-4"), "learning_rate", "0.0002", "1e-05 to 5e-05"),
        (FULL.replace("2e-5", "1e-6"), "learning_rate", "1e-06", "1e-05 to 5e-05"),
        (LORA.replace("2e-4", "1e-3"), "learning_rate", "0.001", "0.0001 to 0.0003"),
        (LORA + "lora_r: 8\nlora_alpha: 8\n", "lora_r", "8", "16 to 64"),
        (LORA + "lora_alpha: 8\n", "lora_alpha", "8", "16 to 32"),
        (LORA + "lora_r: 32\nlora_alpha: 128\n", "lora_alpha", "128", "32 to 64"),
        (LORA.replace("micro_batch_size: 2", "micro_batch_size: 16"), "micro_batch_size", "16", "2 to 8"),
        (FULL + "micro_batch_size: 4\n", "micro_batch_size", "4", "1 to 2"),
        (FULL.replace("steps: 8", "steps: 1"), "gradient_accumulation_steps", "1", "4 to 16"),
        (FULL + "num_epochs: 10\n", "num_epochs", "10", "1 to 3"),
        (FULL + "num_epochs: 0.5\n", "num_epochs", "0.5", "1 to 3"),
        (FULL + "optimizer: sgd\n", "optimizer", "sgd", "adamw_torch_fused"),
        (FULL.replace(": m", ": meta-llama/Llama-3.1-8B"), "adapter", "none", "LoRA (16-24 GB)"),
        (FULL.replace(": m", ": some/Model-70b-chat"), "adapter", "none", "LoRA or QLoRA (40-80 GB)"),
        (FULL + "evals_per_epoch: 4\n", "evals_per_epoch", "4", "0"),
        (FULL + "warmup_steps: 100\nmax_steps: 100\n", "warmup_steps", "100", "below 100"),
    ],
)
def test_what_is_unusual_is_named_with_the_usual_range(text: str, key: str, value: str, usual: str) -> None:
    found = given(text)
    assert list(found) == [key]
    assert (found[key].value, found[key].range) == (value, usual)
    assert found[key].message


def test_the_sentence_says_where_the_value_lies() -> None:
    found = given(FULL.replace("2e-5", "2e-4"))["learning_rate"]
    assert found.message == "learning_rate 0.0002 is above the usual 1e-05 to 5e-05 (training all weights)"
    assert found.code == "unusual_value"
    sized = given(FULL.replace(": m", ": Qwen/Qwen3-14B"))["adapter"]
    assert sized.message == (
        "training all weights of a 14B model takes several GPUs; LoRA (24-40 GB) is usual at this size"
    )


def test_epochs_are_not_judged_when_steps_end_the_run() -> None:
    assert given(FULL + "num_epochs: 10\nmax_steps: 100\n") == {}


@pytest.mark.parametrize("text", [LORA.replace(": m", ": Qwen/Qwen3-32B"), FULL.replace(": m", ": Qwen/Qwen3-1.7B")])
def test_a_size_that_fits_the_way_of_training_gets_none(text: str) -> None:
    assert given(text) == {}


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen3-0.6B", 0.6),
        ("mistralai/Mixtral-8x7B-v0.1", 56),
        ("Qwen/Qwen3-30B-A3B", 30),
        ("models/llama-7b/", 7),
        ("gpt2", None),
        ("org-7b/model", None),
        ("some/model-4bit", None),
        ("llama-3b4", None),
    ],
)
def test_the_size_is_read_off_the_models_name(name: str, billions: float | None) -> None:
    assert model_billions(name) == billions


def test_every_row_is_about_a_setting_and_a_way_of_training() -> None:
    for row in USUAL_RANGES:
        assert row.key in SftConfig.model_fields
        assert all(low <= high for low, high in row.ranges.values())
    assert set(USUAL_OPTIMIZERS) == {"lora", "qlora", "full"}
    assert [row.billions for row in MODEL_SIZES] == sorted(row.billions for row in MODEL_SIZES)
