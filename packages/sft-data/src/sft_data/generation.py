"""Held-out questions for generated answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sft_data.detect import settle_formats
from sft_data.format import FORMATS
from sft_data.pipeline import Pipeline
from sft_data.row import Row, RowError
from sft_data.source import read_rows
from sft_data.tokenizer import TextTokenizer
from sft_schema import SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, RowOrigin


@dataclass(frozen=True, slots=True)
class GenerationPrompt:
    """A conversation up to its last answer.

    Attributes:
        text: rendered with the generation prompt.
        input_ids: int32 `[n]`.
        wanted: content of the last assistant message.
        origin: the row.
    """

    text: str
    input_ids: NDArray[np.int32]
    wanted: str
    origin: RowOrigin


def generation_prompts(cfg: SftConfig, tokenizer: TextTokenizer) -> list[GenerationPrompt]:
    """The conversations of `test_datasets` that end with an assistant's text, cut before it.

    Rows that cannot be rendered are left out here; `prepare` has counted them.
    """
    cfg, _ = settle_formats(cfg)
    pipeline = Pipeline(cfg, tokenizer)
    found = list(_questions(cfg, pipeline))
    encoded = tokenizer.encode_batch([text for text, _, _ in found])
    return [
        GenerationPrompt(text, tokens.ids, wanted, origin)
        for (text, wanted, origin), tokens in zip(found, encoded, strict=True)
    ]


def _questions(cfg: SftConfig, pipeline: Pipeline) -> Iterator[tuple[str, str, RowOrigin]]:
    for dataset in cfg.test_datasets:
        for row in read_rows(dataset) if dataset.type == "chat_template" else ():
            if not isinstance(row, Row):
                continue
            try:
                example = FORMATS[dataset.type](row, dataset)
            except RowError:
                continue
            if isinstance(example, Conversation) and example.messages[-1].role == "assistant":
                yield from _question(example, row.origin, dataset, pipeline)


def _question(
    example: Conversation, origin: RowOrigin, dataset: DatasetConfig, pipeline: Pipeline
) -> Iterator[tuple[str, str, RowOrigin]]:
    wanted = example.messages[-1].content
    if isinstance(wanted, str):
        try:
            yield (
                pipeline.prompt(example.model_copy(update={"messages": example.messages[:-1]}), dataset),
                wanted,
                origin,
            )
        except RowError:
            return
