"""Counting rows and tokens, so that none disappears silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sft_data.row import BadRow, RowError
from sft_schema import IGNORE_INDEX, DataError, SftConfig
from sft_schema.record import RowOrigin, SplitCounts, TokenizedSample


@dataclass(slots=True)
class Account:
    """What happened to the rows of one split.

    Attributes:
        cfg: `on_bad_row`, `sequence_len` and `excess_length_strategy`.
        samples: what was kept, in order.
        bad: what was set aside, with reasons.
        rows_in: rows read.
        cut_rows: samples cut by `truncate`.
        cut_tokens: tokens lost by that.
        excess: lengths of the samples that are too long, with `raise`.
    """

    cfg: SftConfig
    samples: list[TokenizedSample] = field(default_factory=list[TokenizedSample])
    bad: list[BadRow] = field(default_factory=list[BadRow])
    rows_in: int = 0
    cut_rows: int = 0
    cut_tokens: int = 0
    excess: list[int] = field(default_factory=list[int])

    @contextmanager
    def row(self, origin: RowOrigin) -> Generator[None]:
        """Around the work on one row: a RowError sets the row aside, or stops with `on_bad_row: error`."""
        try:
            yield
        except RowError as error:
            if self.cfg.on_bad_row == "error" and error.reason != "too_long":
                fix = "correct the row, or set `on_bad_row: quarantine`"
                raise DataError(f"{error.detail} [{error.reason}]", where=origin.place, fix=fix) from None
            self.bad.append(BadRow(origin, error.reason, error.detail))

    def keep(self, sample: TokenizedSample) -> None:
        """Counts a sample, after `excess_length_strategy` has had its say.

        Raises:
            RowError: `too_long` with `drop`; `nothing_to_train` when a cut leaves no trained token.
        """
        length, limit = len(sample.input_ids), self.cfg.sequence_len
        if length <= limit:
            self.samples.append(sample)
        elif self.cfg.excess_length_strategy == "raise":
            self.excess.append(length)
        elif self.cfg.excess_length_strategy == "drop":
            raise RowError("too_long", f"{length} tokens, sequence_len is {limit}")
        else:
            labels = sample.labels[:limit]
            if not (labels[1:] != IGNORE_INDEX).any():
                raise RowError("nothing_to_train", f"no trained token in the first {limit} of {length}")
            self.cut_rows += 1
            self.cut_tokens += length - limit
            self.samples.append(TokenizedSample(sample.input_ids[:limit], labels, sample.origin))

    def require_samples(self, split: str) -> None:
        """Raises DataError when samples are too long, with the price of every way out, or when none is left."""
        if self.excess:
            self._refuse_excess(np.array(self.excess))
        if not self.samples:
            reasons = dict(Counter(row.reason for row in self.bad))
            first = f"; the first: {self.bad[0].origin.place}: {self.bad[0].detail}" if self.bad else ""
            message = f"no row of {self.rows_in} is left, set aside: {reasons}{first}"
            raise DataError(message, where=f"{split} data", fix="correct the rows or the data set's settings")

    def _refuse_excess(self, lengths: NDArray[np.int64]) -> None:
        limit = self.cfg.sequence_len
        message = (
            f"{len(lengths)} of {self.rows_in} samples are longer than sequence_len {limit}, "
            f"the longest has {lengths.max()} tokens"
        )
        fix = (
            f"`sequence_len: {lengths.max()}` keeps everything; `excess_length_strategy: truncate` cuts "
            f"{(lengths - limit).sum()} tokens; `drop` loses {len(lengths)} rows with {lengths.sum()} tokens"
        )
        raise DataError(message, where="datasets", fix=fix)

    def counts(self) -> SplitCounts:
        """The account as a record, checked."""
        lengths = [len(sample.input_ids) for sample in self.samples]
        counts = SplitCounts(
            rows_in=self.rows_in,
            rows_out=len(self.samples),
            dropped=dict(sorted(Counter(row.reason for row in self.bad).items())),
            tokens=sum(lengths),
            trained_tokens=sum(int((sample.labels != IGNORE_INDEX).sum()) for sample in self.samples),
            cut_rows=self.cut_rows,
            cut_tokens=self.cut_tokens,
            longest=max(lengths, default=0),
        )
        counts.check()
        return counts
