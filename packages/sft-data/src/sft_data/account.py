"""Counting rows and tokens of a data set, so that none disappears silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
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
        expanded: samples beyond the first that rows became, by `expand_turns` or `split`.
        cut_rows: samples cut by `truncate`, `truncate_history` or `split`.
        cut_tokens: tokens lost by that.
        excess: lengths of the samples that are too long, with `raise`.
        prices: what each other strategy would lose of them.
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
    prices: list[dict[str, tuple[int, int]]] = field(default_factory=list[dict[str, tuple[int, int]]])
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

    def keep(self, sample: TokenizedSample, pieces: Sequence[TokenizedSample]) -> None:
        """Counts a sample and what is kept of it.

        Args:
            sample: as it was masked.
            pieces: itself, or what `excess_length_strategy` made of it; each trains a token.

        Raises:
            RowError: `too_long` or `nothing_to_train` when nothing is kept.
        """
        length = len(sample.input_ids)
        if not pieces:
            self.drop(sample, *self._nothing_left(length))
        lost = length - sum(len(piece.input_ids) for piece in pieces)
        self.samples.extend(pieces)
        self.expanded += len(pieces) - 1
        self.cut_rows += lost > 0
        self.cut_tokens += lost
        self.tokens_in += length

    def _nothing_left(self, length: int) -> tuple[str, str]:
        """Reason and detail of a sample that is too long and of which nothing is kept."""
        strategy, limit = self.cfg.excess_length_strategy, self.cfg.sequence_len
        if strategy in ("truncate", "split"):
            return "nothing_to_train", f"no trained token in a piece of {limit} of {length}"
        why = ", and no history that could go makes it fit" if strategy == "truncate_history" else ""
        return "too_long", f"{length} tokens, sequence_len is {limit}{why}"

    def refuse(self, sample: TokenizedSample, prices: dict[str, tuple[int, int]]) -> None:
        """Notes a sample that is too long, with `raise`; see `excess.price`."""
        self.tokens_in += len(sample.input_ids)
        self.excess.append(len(sample.input_ids))
        self.prices.append(prices)

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
