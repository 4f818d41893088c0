from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from sft_data import GenerationPrompt, TextTokenizer, load_tokenizer
from sft_schema import parse_config
from sft_schema.record import RowOrigin
from sft_train.evaluate.answers import (
    AnswerSettings,
    batches_of,
    exact_match,
    generate_answers,
    until_stop,
)

ORIGIN = RowOrigin("d", 0, "d:1")
SETTINGS = AnswerSettings(stop_ids=(2,), pad_id=0, max_new_tokens=6, tokens_per_batch=60)


def prompt(length: int, wanted: str = "") -> GenerationPrompt:
    ids = (np.arange(length) * 11 % 200 + 3).astype(np.int32)
    return GenerationPrompt("text", ids, wanted, ORIGIN)


@pytest.fixture
def model(model_folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(model_folder)


@pytest.fixture
def tokenizer(model_folder: Path) -> TextTokenizer:
    text = f"base_model: {model_folder}\nlearning_rate: 1e-3\ndatasets: [{{path: x}}]"
    return load_tokenizer(parse_config(text))


def greedy_one_by_one(model: PreTrainedModel, question: GenerationPrompt) -> list[int]:
    ids = question.input_ids.tolist()
    for _ in range(SETTINGS.max_new_tokens):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
        if ids[-1] in SETTINGS.stop_ids:
            break
    return until_stop(ids[len(question.input_ids) :], SETTINGS.stop_ids)


def test_answers_equal_greedy_decoding_one_by_one_in_the_given_order(
    model: PreTrainedModel, tokenizer: TextTokenizer
) -> None:
    # A config like this is published with some models, and would change what is generated.
    model.generation_config = GenerationConfig(do_sample=True, temperature=5.0, repetition_penalty=9.0)
    prompts = [prompt(length) for length in (3, 17, 9, 4, 30, 8)]
    model.train()
    answers = generate_answers(model, prompts, tokenizer, SETTINGS, Accelerator(cpu=True))
    assert model.training
    assert model.generation_config.temperature == 5.0
    model.eval()
    with torch.no_grad():
        assert answers == [tokenizer.decode(greedy_one_by_one(model, each)) for each in prompts]
    assert len(set(answers)) > 1


@given(st.lists(st.integers(1, 80), min_size=1, max_size=30))
def test_batches_hold_every_prompt_once_within_the_limit(lengths: list[int]) -> None:
    prompts = [prompt(length) for length in lengths]
    batches = list(batches_of(prompts, range(len(prompts)), SETTINGS))
    assert sorted(index for batch in batches for index in batch) == list(range(len(prompts)))
    for batch in batches:
        longest = max(lengths[index] for index in batch) + SETTINGS.max_new_tokens
        assert len(batch) == 1 or longest * len(batch) <= SETTINGS.tokens_per_batch


def test_answer_ends_before_its_first_stop_token() -> None:
    assert until_stop([5, 6, 2, 7, 2], (2,)) == [5, 6]
    assert until_stop([5, 6], (2,)) == [5, 6]
    assert until_stop([1, 5], (2, 1)) == []


def test_exact_match_ignores_white_space_at_the_ends_alone() -> None:
    prompts = [prompt(2, "four"), prompt(2, " four\n"), prompt(2, "Four"), prompt(2, "fo ur")]
    assert exact_match([" four", "four", "four", "four"], prompts) == 0.5
