"""Generated answers to held-out conversations, and how many are right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from transformers import GenerationConfig

from sft_data import GenerationPrompt, TextTokenizer


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How answers are generated: always greedily.

    Attributes:
        stop_ids: ids that end an answer.
        pad_id: id that fills batches up on the left.
        max_new_tokens: longest answer, in tokens.
        tokens_per_batch: tokens of a batch, prompts and answers.
    """

    stop_ids: tuple[int, ...]
    pad_id: int
    max_new_tokens: int
    tokens_per_batch: int


def generate_answers(
    model: Any,
    prompts: Sequence[GenerationPrompt],
    tokenizer: TextTokenizer,
    settings: AnswerSettings,
    accelerator: Accelerator,
) -> list[str]:
    """One greedy answer to each prompt, in the prompts' order, the same on all processes.

    Args:
        model: bare or with an adapter, not wrapped; as it was afterwards.
        prompts: rendered up to where the answer begins.
        tokenizer: decodes the answers.
        settings: see there.
        accelerator: gives the device and number format; each process generates a share of the answers.
    """
    mine = range(accelerator.process_index, len(prompts), accelerator.num_processes)
    found: list[tuple[int, str]] = []
    with _generating(model, settings), accelerator.autocast():
        for batch in batches_of(prompts, mine, settings):
            ids, mask = left_padded([prompts[index].input_ids for index in batch], settings.pad_id)
            output = model.generate(input_ids=ids.to(accelerator.device), attention_mask=mask.to(accelerator.device))
            for index, answer in zip(batch, output[:, ids.shape[1] :].tolist(), strict=True):
                found.append((index, tokenizer.decode(until_stop(answer, settings.stop_ids))))
    return [answer for _, answer in sorted(gather_object(found))]


def exact_match(answers: Sequence[str], prompts: Sequence[GenerationPrompt]) -> float:
    """Part of the answers that equal the wanted one, white space at the ends aside: 0 to 1."""
    right = sum(answer.strip() == prompt.wanted.strip() for answer, prompt in zip(answers, prompts, strict=True))
    return right / len(prompts)


def batches_of(
    prompts: Sequence[GenerationPrompt], indices: Sequence[int], settings: AnswerSettings
) -> Iterator[list[int]]:
    """Indices in batches of prompts of similar length, none of more than `tokens_per_batch` tokens."""
    batch: list[int] = []
    for index in sorted(indices, key=lambda each: (-len(prompts[each].input_ids), each)):
        # The first of a batch is its longest, so all others are filled up to its length.
        longest = len(prompts[batch[0] if batch else index].input_ids) + settings.max_new_tokens
        if batch and longest * (len(batch) + 1) > settings.tokens_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def until_stop(ids: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    """The ids before the first stop token."""
    end = next((place for place, token in enumerate(ids) if token in stop_ids), len(ids))
    return list(ids[:end])


def left_padded(prompts: Sequence[Any], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts ending in one column: ids and attention mask, int64 `[n, longest]`.

    Args:
        prompts: ids of each.
        pad_id: fills up on the left.
    """
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        begin = longest - len(prompt)
        ids[row, begin:] = torch.as_tensor(prompt, dtype=torch.int64)
        mask[row, begin:] = 1
    return ids, mask


@contextmanager
def _generating(model: Any, settings: AnswerSettings) -> Iterator[None]:
    """The model in evaluation mode with a key-value cache and none but greedy settings; then as it was.

    `generate` fills settings that a call leaves open from the model's own generation config, which may hold a
    temperature or a repetition penalty; so that config is put aside for the time.
    """
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    training, own, cached = model.training, bare.generation_config, bare.config.use_cache
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=list(settings.stop_ids),
        pad_token_id=settings.pad_id,
        use_cache=True,
    )
    model.eval()
    bare.generation_config, bare.config.use_cache = greedy, True
    try:
        with torch.no_grad():
            yield
    finally:
        bare.generation_config, bare.config.use_cache = own, cached
        model.train(training)
