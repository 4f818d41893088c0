"""Tokens per second of training, evaluation and saving left out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any


def tokens_of(batch: Mapping[str, Any]) -> int:
    """Tokens of a batch that count as work of this process.

    A batch without targets is a blank one, or with `wrapped` a piece of a prompt: no work that counts. Where processes
    share a row, `tokens` says it: a part without targets counts beside others that have some.
    """
    if "tokens" in batch:
        return batch["tokens"]
    return batch["input_ids"].numel() if batch["targets"].numel() else 0


class Throughput:
    """Counts tokens of all processes, and the seconds that optimizer steps take on this one.

    Attributes:
        tokens: tokens since the start of the process.
        trained_tokens: of these, with a label.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.trained_tokens = 0
        self._logged = (0, 0)
        self._seconds = 0.0
        self._began: float | None = None

    def begin_step(self) -> None:
        """An optimizer step begins, with the reading of its data."""
        self._began = time.perf_counter()

    def add(self, tokens: int, trained_tokens: int) -> None:
        """The step's tokens, once known."""
        self.tokens += tokens
        self.trained_tokens += trained_tokens

    def end_step(self) -> None:
        """The weights are updated."""
        if self._began is not None:
            self._seconds += time.perf_counter() - self._began
            self._began = None

    def rates(self) -> dict[str, float]:
        """Tokens per second since the last call; empty when no step has ended since."""
        if not self._seconds:
            return {}
        tokens, trained = self.tokens - self._logged[0], self.trained_tokens - self._logged[1]
        rates = {
            "tokens_per_second": round(tokens / self._seconds, 1),
            "trained_tokens_per_second": round(trained / self._seconds, 1),
        }
        self._logged = (self.tokens, self.trained_tokens)
        self._seconds = 0.0
        return rates
