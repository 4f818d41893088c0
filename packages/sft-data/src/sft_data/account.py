"""What happened to the rows of a block: counted, so that none disappears silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sft_data.duplicate import digest_of
from sft_data.row import BadRow, RowError
from sft_data.store import ShardRow
from sft_schema import DataError, SftConfig
from sft_schema.record import RowOrigin, TokenizedSample

ASKED_FOR = frozenset({"duplicate", "near_duplicate", "overlap", "not_in_mix"})
"""Reasons that a setting asks for; they are no fault of the row and do not count against `max_dropped_fraction`."""
COUNTS = ("rows_in", "tokens_in", "expanded", "cut_rows", "cut_tokens")
"""The plain numbers of an account."""


@dataclass(slots=True)
class Excess:
    """Samples that are too long, with `excess_length_strategy: raise`.

    Attributes:
        count: how many.
        longest: tokens of the longest.
        rows: samples that each other strategy would lose.
        tokens: tokens that it would lose.
    """

    count: int = 0
    longest: int = 0
    rows: Counter[str] = field(default_factory=Counter[str])
    tokens: Counter[str] = field(default_factory=Counter[str])

    def add(self, other: Excess) -> None:
        """Counts others in."""
        self.count += other.count
        self.longest = max(self.longest, other.longest)
        self.rows.update(other.rows)
        self.tokens.update(other.tokens)


@dataclass(slots=True)
class Account:
    """What happened to the rows of one block, or of several together.

    Attributes:
        rows_in: rows read.
        tokens_in: tokens of the rows that were encoded.
        expanded: samples beyond the first that rows became, by `expand_turns` or `split`.
        cut_rows: samples cut by `truncate`, `truncate_history` or `split`.
        cut_tokens: tokens lost by that.
        dropped_tokens: tokens of dropped samples, by reason.
        engines: rows that each engine encoded.
        excess: samples that are too long, with `raise`.
        bad: what was set aside, with reasons.
    """

    rows_in: int = 0
    tokens_in: int = 0
    expanded: int = 0
    cut_rows: int = 0
    cut_tokens: int = 0
    dropped_tokens: Counter[str] = field(default_factory=Counter[str])
    engines: Counter[str] = field(default_factory=Counter[str])
    excess: Excess = field(default_factory=Excess)
    bad: list[BadRow] = field(default_factory=list[BadRow])

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values; see `from_json`."""
        values = {name: getattr(self, name) for name in COUNTS}
        excess = {name: getattr(self.excess, name) for name in ("count", "longest", "rows", "tokens")}
        bad = [_line(each) for each in self.bad]
        counters = {"dropped_tokens": self.dropped_tokens, "engines": self.engines}
        return {**values, **counters, "excess": excess, "bad": bad}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Account:
        """What `as_json` gave."""
        excess = values["excess"]
        account = cls(
            dropped_tokens=Counter(values["dropped_tokens"]),
            engines=Counter(values["engines"]),
            excess=Excess(excess["count"], excess["longest"], Counter(excess["rows"]), Counter(excess["tokens"])),
            bad=[
                BadRow(RowOrigin(row["dataset"], row["row"], row["place"]), row["reason"], row["detail"])
                for row in values["bad"]
            ],
        )
        for name in COUNTS:
            setattr(account, name, values[name])
        return account


def _line(row: BadRow) -> dict[str, str | int]:
    origin = row.origin
    return {
        "dataset": origin.dataset,
        "row": origin.row,
        "place": origin.place,
        "reason": row.reason,
        "detail": row.detail,
    }


class Ledger:
    """The account of a block while its rows are worked on, with the samples that are kept.

    Args:
        cfg: `on_bad_row`, `sequence_len` and `excess_length_strategy`.

    Attributes:
        account: what happened to the rows.
        kept: the samples, in order.
    """

    def __init__(self, cfg: SftConfig) -> None:
        self._cfg = cfg
        self.account = Account()
        self.kept: list[ShardRow] = []

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
        if self._cfg.on_bad_row == "error" and error.reason != "too_long":
            fix = "correct the row, or set `on_bad_row: quarantine`"
            raise DataError(f"{error.detail} [{error.reason}]", where=origin.place, fix=fix) from None
        self.account.bad.append(BadRow(origin, error.reason, error.detail))

    def keep(self, whole: ShardRow, pieces: Sequence[TokenizedSample]) -> None:
        """Counts a sample and what is kept of it.

        Args:
            whole: as it was masked.
            pieces: itself, or what `excess_length_strategy` made of it; each trains a token.

        Raises:
            RowError: `too_long` or `nothing_to_train` when nothing is kept.
        """
        account = self.account
        account.tokens_in += whole.whole
        if not pieces:
            reason, detail = self._nothing_left(whole.whole)
            account.dropped_tokens[reason] += whole.whole
            raise RowError(reason, detail)
        lost = whole.whole - sum(len(piece.input_ids) for piece in pieces)
        self.kept.extend(
            replace(whole, sample=piece, piece=number, text=digest_of(piece, labels=False))
            for number, piece in enumerate(pieces)
        )
        account.expanded += len(pieces) - 1
        account.cut_rows += lost > 0
        account.cut_tokens += lost

    def _nothing_left(self, length: int) -> tuple[str, str]:
        """Reason and detail of a sample that is too long and of which nothing is kept."""
        strategy, limit = self._cfg.excess_length_strategy, self._cfg.sequence_len
        if strategy in ("truncate", "split"):
            return "nothing_to_train", f"no trained token in a piece of {limit} of {length}"
        why = ", and no history that could go makes it fit" if strategy == "truncate_history" else ""
        return "too_long", f"{length} tokens, sequence_len is {limit}{why}"

    def refuse(self, length: int, prices: Mapping[str, tuple[int, int]]) -> None:
        """Notes a sample that is too long, with `raise`; see `excess.price`."""
        self.account.tokens_in += length
        rows = Counter({strategy: price[0] for strategy, price in prices.items()})
        tokens = Counter({strategy: price[1] for strategy, price in prices.items()})
        self.account.excess.add(Excess(1, length, rows, tokens))
