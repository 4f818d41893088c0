"""Batches of samples with pictures: filled up to one length, not joined."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from sft_data import PictureProcessor, Prepared, picture_batch
from sft_schema import IGNORE_INDEX, ConfigError, Issue, SftConfig
from sft_schema.record import PackedRow, TokenizedSample


class PicturedBatches:
    """Rows of one sample each to tensors; reads the pictures and asks the processor once per batch.

    Args:
        prepared: has a processor.
        split: `train` or `eval`.
    """

    def __init__(self, prepared: Prepared, split: str) -> None:
        assert prepared.processor is not None, "without a processor rows are joined end to end"
        self._processor: PictureProcessor = prepared.processor
        self._samples = prepared.train if split == "train" else prepared.eval

    def __call__(self, rows: Sequence[PackedRow]) -> dict[str, Any]:
        """A batch as `padded_nll` takes it.

        Args:
            rows: b rows; one without samples (a blank row) becomes the first sample with nothing trained.

        Returns:
            `model_inputs`, what the model's forward takes, of b rows of t tokens; `columns`, `predict_at` and
            `targets` int64, and perhaps `target_weights` float32; `input_ids` int64 `[n]`: all tokens but those that
            fill up, for counting.

        Raises:
            DataError: see `picture_batch`.
        """
        assert self._samples is not None
        found = [(row, self._samples[_sample_of(row)]) for row in rows]
        found.sort(key=lambda each: -_pictures_of(each[1]))  # as `picture_batch` takes them
        inputs = picture_batch([sample for _, sample in found], self._processor)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        labels = np.full(ids.shape, IGNORE_INDEX, dtype=np.int64)
        weights = np.ones(ids.shape, dtype=np.float32)
        for number, (row, _) in enumerate(found):
            if len(row.samples):
                labels[number, : len(row.labels)] = row.labels
                weights[number, : len(row.labels)] = 1 if row.weights is None else row.weights
        has_weights = any(row.weights is not None for row in rows)
        return {
            "model_inputs": {name: _tensor(value) for name, value in inputs.items()},
            "input_ids": torch.from_numpy(ids[mask != 0]),
            **_wanted(labels, weights if has_weights else None),
        }


def _sample_of(row: PackedRow) -> int:
    return int(row.samples[0]) if len(row.samples) else 0


def _pictures_of(sample: TokenizedSample) -> int:
    return len(sample.pictured.pictures) if sample.pictured else 0


def _wanted(labels: NDArray[np.int64], weights: NDArray[np.float32] | None) -> dict[str, torch.Tensor]:
    """Where a trained token is predicted; see `padded_nll`."""
    row, column = np.nonzero(labels[:, 1:] != IGNORE_INDEX)
    columns = np.unique(column)
    weighed = {} if weights is None else {"target_weights": torch.from_numpy(weights[row, column + 1])}
    return {
        **weighed,
        "columns": torch.from_numpy(columns),
        "predict_at": torch.from_numpy(row * len(columns) + np.searchsorted(columns, column)),
        "targets": torch.from_numpy(labels[row, column + 1]),
    }


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def saved_with_model(prepared: Prepared, tokenizer: PreTrainedTokenizerBase) -> Any:
    """What is saved beside the weights: the tokenizer, or the processor around it, with the training's template."""
    if prepared.processor is None:
        return tokenizer
    processor = copy(prepared.processor.backend)  # the original still serves other preparations
    processor.tokenizer = tokenizer
    processor.chat_template = tokenizer.chat_template
    return processor


def check_processes(cfg: SftConfig, processes: int) -> None:
    """Refuses several processes that would wait for a gradient of the vision tower from one that has no picture.

    Raises:
        ConfigError: there are several, and `ddp_find_unused_parameters` is not set.
    """
    if cfg.processor_type is None or processes == 1 or cfg.ddp_find_unused_parameters:
        return
    message = f"{processes} processes wait for gradients that a batch without pictures does not have"
    fix = "set `ddp_find_unused_parameters: true`"
    raise ConfigError([Issue("pictures_on_some", ("ddp_find_unused_parameters",), message, fix)])
