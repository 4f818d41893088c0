"""Noise on the embeddings in training (NEFTune, Jain et al. 2023, arXiv 2310.05914)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class EmbeddingNoise:
    """Adds uniform noise within alpha / sqrt(L d) to embeddings, with L the tokens of the sample and d the width.

    L is the length of each sample, not of the batch that it shares with others: the noise does not depend on how
    samples are packed. There is none in evaluation and generation.

    Args:
        model: bare or with an adapter.
        alpha: size of the noise.
    """

    def __init__(self, model: nn.Module, alpha: float) -> None:
        bare: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        embedding: nn.Module = bare.get_input_embeddings()
        self._alpha = alpha
        self._lengths: Tensor | None = None
        embedding.register_forward_hook(self._add)

    @contextmanager
    def over(self, cu_seqlens: Tensor) -> Iterator[None]:
        """A context in which the samples of a batch have these boundaries, int `[n + 1]`."""
        self._lengths = cu_seqlens.diff()
        try:
            yield
        finally:
            self._lengths = None

    def _add(self, embedding: nn.Module, _: tuple[Any, ...], embedded: Tensor) -> Tensor:
        if self._lengths is None or not embedding.training:
            return embedded
        lengths = self._lengths.to(torch.int64)
        limit = self._alpha / torch.sqrt(lengths.float() * embedded.shape[-1])
        per_token = limit.repeat_interleave(lengths, output_size=embedded.shape[1])
        noise = torch.empty_like(embedded).uniform_(-1, 1) * per_token[:, None].to(embedded.dtype)
        return embedded + noise
