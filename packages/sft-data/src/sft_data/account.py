"""Counting rows and tokens of a data set, so that none disappears silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sft_data.row import BadRow, RowError
from sft_schema import IGNORE_INDEX, DataError, SftConfig
from sft_schema.record import RowOrigin, SplitCounts, TokenizedSample

ASKED_FOR = frozenset({"duplicate", "near_duplicate", "overlap", "not_in_mix"})
"""Reasons that a setting asks for; they are no fault of the row and do not count against `max_dropped_fraction`."""


@dataclass(slots=True)
class Account:
    """What happened to the rows of one data set.

    Attributes:
        cfg: `on_bad_row`, `sequence_len`, `excess_length_strategy` and `max_dropped_fraction`.
        name: the data set, as the manifest calls it.
        samples: what was kept, in order.
        bad: what was set aside, with reasons.
        rows_in: rows read.
        tokens_in: tokens of the rows that were encoded.
        dropped: rows left out without a line each in `bad`, by reason.
        dropped_tokens: tokens of dropped samples, by reason.
        expanded: samples beyond the first that rows became.
        cut_rows: samples cut by `truncate`.
        cut_tokens: tokens lost by that.
        excess: lengths of the samples that are too long, with `raise`.
        repeats: further times that samples come in an epoch, by index.
        overlap: samples that the training data have too and that were kept.
    """

    cfg: SftConfig
    name: str = ""
    samples: list[TokenizedSample] = field(default_factory=list[TokenizedSample])
    bad: list[BadRow] = field(default_factory=list[BadRow])
    rows_in: int = 0
    tokens_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    dropped_tokens: Counter[str] = field(default_factory=Counter[str])
    expanded: int = 0
    cut_rows: int = 0
    cut_tokens: int = 0
    excess: list[int] = field(default_factory=list[int])
    repeats: Counter[int] = field(default_factory=Counter[int])
    overlap: int = 0

    @contextmanager
    def row(self, origin: RowOrigin) -> Generator[None]:
        """Around the work on one row: a RowError sets the row aside, or stops with `on_bad_row: error`."""
        try:
            yield
        except RecursionError:
            self._set_aside(origin, RowError("nested_too_deeply", "lists or objects in one another without end"))
        except RowError as error:
            self._set_aside(origin, error)

    def _set_aside(self, origin: RowOrigin, error: RowError) -> None:
        if self.cfg.on_bad_row == "error" and error.reason not in ASKED_FOR | {"too_long"}:
            fix = "correct the row, or set `on_bad_row: quarantine`"
            raise DataError(f"{error.detail} [{error.reason}]", where=origin.place, fix=fix) from None
        self.bad.append(BadRow(origin, error.reason, error.detail))

    def drop(self, sample: TokenizedSample, reason: str, detail: str) -> None:
        """Counts the tokens of a sample that is dropped; always raises RowError."""
        self.tokens_in += len(sample.input_ids)
        self.dropped_tokens[reason] += len(sample.input_ids)
        raise RowError(reason, detail)

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
            self.drop(sample, "too_long", f"{length} tokens, sequence_len is {limit}")
        else:
            labels = sample.labels[:limit]
            if not (labels[1:] != IGNORE_INDEX).any():
                self.drop(sample, "nothing_to_train", f"no trained token in the first {limit} of {length}")
            self.cut_rows += 1
            self.cut_tokens += length - limit
            self.samples.append(TokenizedSample(sample.input_ids[:limit], labels, sample.origin))
        self.tokens_in += length

    def use(self, indices: list[int], repeats: list[int]) -> None:
        """Keeps these samples alone, and says how many further times each of them comes in an epoch."""
        kept = set(indices)
        left_out = [sample for index, sample in enumerate(self.samples) if index not in kept]
        if left_out:
            self.dropped["not_in_mix"] += len(left_out)
            self.dropped_tokens["not_in_mix"] += sum(len(sample.input_ids) for sample in left_out)
        self.samples = [self.samples[index] for index in indices]
        self.repeats = Counter(dict(enumerate(repeats)))

    def lost(self) -> Counter[str]:
        """Rows that are bad or too long, by reason; not those that a setting about duplicates or mixing dropped."""
        return Counter(row.reason for row in self.bad if row.reason not in ASKED_FOR)

    def check_budget(self) -> None:
        """Raises DataError when more rows were bad or too long than `max_dropped_fraction` allows."""
        lost, budget = self.lost(), self.cfg.max_dropped_fraction
        if sum(lost.values()) <= budget * self.rows_in:
            return
        first = next(row for row in self.bad if row.reason in lost)
        message = (
            f"{sum(lost.values())} of {self.rows_in} rows are lost, more than max_dropped_fraction {budget:g} allows: "
            f"{dict(lost.most_common())}; the first: {first.origin.place}: {first.detail}"
        )
        raise DataError(message, where=f"data set {self.name!r}", fix="correct the rows, or raise the limit")

    def counts(self) -> SplitCounts:
        """The account as a record, checked."""
        lengths = [len(sample.input_ids) for sample in self.samples]
        trained = [int((sample.labels != IGNORE_INDEX).sum()) for sample in self.samples]
        repeated = sum(count * lengths[index] for index, count in self.repeats.items())
        counts = SplitCounts(
            rows_in=self.rows_in,
            rows_out=len(self.samples),
            expanded=self.expanded,
            dropped=dict(sorted((Counter(row.reason for row in self.bad) + self.dropped).items())),
            tokens=sum(lengths) + repeated,
            trained_tokens=sum(trained) + sum(count * trained[index] for index, count in self.repeats.items()),
            cut_rows=self.cut_rows,
            cut_tokens=self.cut_tokens,
            longest=max(lengths, default=0),
            tokens_in=self.tokens_in,
            dropped_tokens=dict(sorted(self.dropped_tokens.items())),
            repeated=sum(self.repeats.values()),
            repeated_tokens=repeated,
            overlap=self.overlap,
        )
        counts.check()
        return counts
