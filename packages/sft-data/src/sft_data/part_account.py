"""The account of one data set of a split, and which of its samples are left."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft_data.account import ASKED_FOR, COUNTS, Account
from sft_data.row import BadRow
from sft_data.store import ShardInfo, open_shard, read_digests, read_numbers, shard_name
from sft_schema import DataError, SftConfig
from sft_schema.record import SplitCounts

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

_TOKENS_OF_PIECE = re.compile(r" tokens \d+-\d+$")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A sample that is left out because of another one.

    Attributes:
        sample: its index in the data set.
        reason: `duplicate`, `near_duplicate` or `overlap`.
        detail: a sentence with `{}` for the place of the other one.
        twin: data set and index of the other one.
    """

    sample: int
    reason: str
    detail: str
    twin: tuple[PartAccount, int]


@dataclass(slots=True)
class PartAccount:
    """What happened to the rows of one data set, and the numbers of its samples.

    Attributes:
        cfg: `max_dropped_fraction` and `excess_length_strategy`.
        name: the data set, as the manifest calls it.
        folder: of its shards.
        shards: in order; those of held-out rows are the training data's.
        total: of all blocks, without their bad rows.
        reasons: rows that were set aside in the blocks, by reason.
        first_bad: the first of these that no setting asked for.
        left: bool `[n]`: samples that are kept.
        repeats: int64 `[n]`: further times that each comes in an epoch.
        dropped: samples left out because of others.
        dropped_rows: all that are left out, by reason.
        overlap: held-out samples that the training data have too and that were kept.
        first: number of its first sample over all shards of the preparation.
    """

    cfg: SftConfig
    name: str
    folder: Path
    shards: list[ShardInfo] = field(default_factory=list[ShardInfo])
    total: Account = field(default_factory=Account)
    reasons: Counter[str] = field(default_factory=Counter[str])
    first_bad: BadRow | None = None
    left: Flags = field(default_factory=lambda: np.empty(0, dtype=bool))
    repeats: Numbers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    dropped: list[Dropped] = field(default_factory=list[Dropped])
    dropped_rows: Counter[str] = field(default_factory=Counter[str])
    overlap: int = 0
    first: int = 0
    _numbers: dict[str, Numbers] = field(default_factory=dict[str, Numbers])

    def add(self, shard: ShardInfo) -> None:
        """Counts a block in."""
        account, total = Account.from_json(shard.account), self.total
        self.shards.append(shard)
        for name in COUNTS:
            setattr(total, name, getattr(total, name) + getattr(account, name))
        total.dropped_tokens.update(account.dropped_tokens)
        total.engines.update(account.engines)
        total.excess.add(account.excess)
        self.reasons.update(row.reason for row in account.bad)
        if self.first_bad is None and account.bad:
            self.first_bad = account.bad[0]

    def load(self, first: int) -> None:
        """Reads the numbers of all samples, after the last block.

        Args:
            first: number of its first sample over all shards of the preparation.
        """
        self.first = first
        self._numbers = read_numbers(self.files)
        self.left = np.ones(len(self.length), dtype=bool)
        self.repeats = np.zeros(len(self.length), dtype=np.int64)

    @property
    def files(self) -> list[Path]:
        """The shards."""
        return [self.folder / shard_name(shard.number) for shard in self.shards]

    @property
    def row(self) -> Numbers:
        """Int64 `[n]`: index of the row that each sample was made of."""
        return self._numbers["row"]

    @property
    def length(self) -> Numbers:
        """Int64 `[n]`: tokens of each sample."""
        return self._numbers["length"]

    @property
    def trained(self) -> Numbers:
        """Int64 `[n]`: trained tokens of each sample."""
        return self._numbers["trained"]

    @property
    def heads(self) -> Numbers:
        """Int64 `[k]`: the first, or only, piece of each sample as it was before any was cut up."""
        return np.flatnonzero(self._numbers["piece"] == 0)

    def digests(self, name: str) -> NDArray[np.uint64]:
        """uint64 `[n, 2]`; see `ShardRow`."""
        return read_digests(self.files, name)

    def minima(self) -> Iterator[NDArray[np.uint32] | None]:
        """Of each sample; see `ShardRow`."""
        for file in self.files:
            for each in open_shard(file)["minima"]:
                yield each.values.to_numpy() if each.is_valid else None

    def value(self, sample: int, column: str) -> Any:
        """A value of the shards."""
        for shard, file in zip(self.shards, self.files, strict=True):
            if sample < shard.samples:
                return open_shard(file)[column][sample].as_py()
            sample -= shard.samples
        raise IndexError(sample)

    def place(self, sample: int) -> str:
        """Where the row of a sample stands."""
        return _TOKENS_OF_PIECE.sub("", self.value(sample, "place"))

    def drop_whole(self, head: int, reason: str, detail: str, twin: tuple[PartAccount, int]) -> None:
        """Leaves out a sample with all its pieces."""
        piece = self._numbers["piece"]
        end = head + 1
        while end < len(piece) and piece[end]:
            end += 1
        whole = int(self._numbers["whole"][head])
        lost = whole - int(self.length[head:end].sum())
        self.left[head:end] = False
        self.total.expanded -= end - head - 1
        self.total.cut_rows -= lost > 0
        self.total.cut_tokens -= lost
        self._note(Dropped(head, reason, detail, twin), whole)

    def drop(self, sample: int, reason: str, detail: str, twin: tuple[PartAccount, int]) -> None:
        """Leaves out one sample."""
        self.left[sample] = False
        self._note(Dropped(sample, reason, detail, twin), int(self.length[sample]))

    def _note(self, dropped: Dropped, tokens: int) -> None:
        self.dropped.append(dropped)
        self.dropped_rows[dropped.reason] += 1
        self.total.dropped_tokens[dropped.reason] += tokens

    def part_off(self, rows: Numbers) -> PartAccount:
        """A new account with the samples of these rows, int64 `[k]`, which leave this one."""
        chosen = self.left & np.isin(self.row, rows)
        held_out = replace(
            self,
            total=Account(rows_in=len(rows), expanded=int(chosen.sum()) - len(rows)),
            reasons=Counter(),
            first_bad=None,
            left=chosen,
            repeats=np.zeros_like(self.repeats),
            dropped=[],
            dropped_rows=Counter(),
        )
        held_out.total.tokens_in = int(self.length[chosen].sum())
        self.left = self.left & ~chosen
        for name in ("rows_in", "expanded", "tokens_in"):
            setattr(self.total, name, getattr(self.total, name) - getattr(held_out.total, name))
        return held_out

    def use(self, times: Numbers) -> None:
        """Keeps the samples that come in an epoch, each as many times as `times`, int64 `[n]`, says."""
        out = self.left & (times == 0)
        if out.any():
            self.dropped_rows["not_in_mix"] += int(out.sum())
            self.total.dropped_tokens["not_in_mix"] += int(self.length[out].sum())
        self.left = times > 0
        self.repeats = np.maximum(times - 1, 0)

    def lost(self) -> Counter[str]:
        """Rows that are bad or too long, by reason."""
        return Counter({reason: count for reason, count in self.reasons.items() if reason not in ASKED_FOR})

    def check_budget(self) -> None:
        """Raises DataError when more rows were bad or too long than `max_dropped_fraction` allows."""
        lost, budget, rows = self.lost(), self.cfg.max_dropped_fraction, self.total.rows_in
        if sum(lost.values()) <= budget * rows or self.first_bad is None:
            return
        first = self.first_bad
        message = (
            f"{sum(lost.values())} of {rows} rows are lost, more than max_dropped_fraction {budget:g} allows: "
            f"{dict(lost.most_common())}; the first: {first.origin.place}: {first.detail}"
        )
        raise DataError(message, where=f"data set {self.name!r}", fix="correct the rows, or raise the limit")

    def quarantined(self) -> Iterator[dict[str, Any]]:
        """A line for each row that was set aside, or left out because of another."""
        if self.reasons:  # not those of held-out rows, whose shards are the training data's
            for shard in self.shards:
                yield from shard.account["bad"]
        for each in self.dropped:
            part, twin = each.twin
            yield {
                "dataset": self.value(each.sample, "dataset"),
                "row": int(self.row[each.sample]),
                "place": self.place(each.sample),
                "reason": each.reason,
                "detail": each.detail.format(part.place(twin)),
            }

    def counts(self) -> SplitCounts:
        """The account as a record, checked."""
        total, repeats = self.total, self.repeats
        repeated = int((repeats * self.length).sum())
        counts = SplitCounts(
            rows_in=total.rows_in,
            rows_out=int(self.left.sum()),
            expanded=total.expanded,
            dropped=dict(sorted((self.reasons + self.dropped_rows).items())),
            tokens=int(self.length[self.left].sum()) + repeated,
            trained_tokens=int(self.trained[self.left].sum() + (repeats * self.trained).sum()),
            cut_rows=total.cut_rows,
            cut_tokens=total.cut_tokens,
            longest=int(self.length[self.left].max(initial=0)),
            tokens_in=total.tokens_in,
            dropped_tokens=dict(sorted(total.dropped_tokens.items())),
            repeated=int(repeats.sum()),
            repeated_tokens=repeated,
            overlap=self.overlap,
        )
        counts.check()
        return counts
