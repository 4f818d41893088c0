"""What training does in a second, evaluation and saving left out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sft_train.trainer.speed import Speed


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

    Args:
        row_len: tokens that a packed row has room for; None where rows are not packed.
        speed: see there; None where it is not known.

    Attributes:
        tokens: tokens since the start of the process.
        trained_tokens: of these, with a label.
        rows: rows of these.
    """

    def __init__(self, row_len: int | None = None, speed: Speed | None = None) -> None:
        self.tokens = 0
        self.trained_tokens = 0
        self.rows = 0
        self._row_len, self._speed = row_len, speed
        self._logged = (0, 0, 0)
        self._seconds = self._waited = 0.0
        self._began: float | None = None

    def begin_step(self) -> None:
        """An optimizer step begins, with the reading of its data."""
        self._began = time.perf_counter()

    def add(self, tokens: int, trained_tokens: int, rows: int = 0) -> None:
        """The step's tokens, once its data are read: what was waited for."""
        self.tokens += tokens
        self.trained_tokens += trained_tokens
        self.rows += rows
        if self._began is not None:
            self._waited += time.perf_counter() - self._began

    def end_step(self) -> None:
        """The weights are updated."""
        if self._began is not None:
            self._seconds += time.perf_counter() - self._began
            self._began = None

    def rates(self) -> dict[str, float]:
        """What was done since the last call, as it is logged; empty when no step has ended since.

        Returns:
            `tokens_per_second` and `trained_tokens_per_second`; `data_wait`, the part of the time in which this process
            waited for its data; `packing_efficiency`, tokens as a part of the room in packed rows; `mfu`, see `Speed`.
        """
        if not self._seconds:
            return {}
        now = (self.tokens, self.trained_tokens, self.rows)
        tokens, trained, rows = (new - old for new, old in zip(now, self._logged, strict=True))
        rates = {
            "tokens_per_second": round(tokens / self._seconds, 1),
            "trained_tokens_per_second": round(trained / self._seconds, 1),
            "data_wait": round(self._waited / self._seconds, 4),
        }
        if self._row_len is not None and rows:
            rates["packing_efficiency"] = round(tokens / (rows * self._row_len), 4)
        if self._speed is not None:
            rates["mfu"] = round(self._speed.share(tokens / self._seconds), 4)
        self._logged, self._seconds, self._waited = now, 0.0, 0.0
        return rates
