"""The accounts of all data sets of a split, and what is done to them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sft_data.account import Account
from sft_data.duplicate import digest_of
from sft_data.excess import price_text
from sft_data.mix import mix, weights_of
from sft_data.row import BadRow
from sft_schema import DataError, SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import SplitCounts, TokenizedSample


@dataclass(slots=True)
class SplitAccount:
    """What happened to the rows of one split.

    Attributes:
        name: `train` or `eval`.
        parts: one account for each data set, in the config's order.
        order: (data set, sample) in the order of an epoch without shuffling; None for one after the other.
    """

    name: str
    parts: list[Account] = field(default_factory=list[Account])
    order: list[tuple[int, int]] | None = None

    @property
    def samples(self) -> list[TokenizedSample]:
        """The samples of an epoch, repeated ones as often as they come."""
        if self.order is None:
            return [sample for part in self.parts for sample in part.samples]
        return [self.parts[part].samples[index] for part, index in self.order]

    @property
    def bad(self) -> list[BadRow]:
        """What was set aside, with reasons."""
        return [row for part in self.parts for row in part.bad]

    def require_samples(self) -> None:
        """Raises DataError when samples are too long, with the price of every way out, or when none is left."""
        if excess := [length for part in self.parts for length in part.excess]:
            self._refuse_excess(excess)
        useless = [part for part in self.parts if not part.samples and part.lost() and self.name == "train"]
        if useless or not any(part.samples for part in self.parts):
            part = (useless or self.parts)[0]
            reasons = dict(Counter(row.reason for row in part.bad))
            first = f"; the first: {part.bad[0].origin.place}: {part.bad[0].detail}" if part.bad else ""
            message = f"no row of {part.rows_in} is left, set aside: {reasons}{first}"
            where = f"{self.name} data, {part.name!r}"
            raise DataError(message, where=where, fix="correct the rows or the data set's settings")

    def _refuse_excess(self, excess: list[int]) -> None:
        lengths, cfg = np.array(excess), self.parts[0].cfg
        limit, rows = cfg.sequence_len, sum(part.rows_in for part in self.parts)
        message = (
            f"{len(lengths)} of {rows} samples are longer than sequence_len {limit}, "
            f"the longest has {lengths.max()} tokens"
        )
        prices = price_text([each for part in self.parts for each in part.prices])
        fix = f"`sequence_len: {lengths.max()}` keeps everything; {prices}"
        raise DataError(message, where="datasets", fix=fix)

    def mix(self, cfg: SftConfig, datasets: Sequence[DatasetConfig]) -> None:
        """Sets the order, and counts what `mix_strategy` leaves out or repeats."""
        if cfg.mix_strategy == "concat":
            return
        if empty := [part.name for part in self.parts if not part.samples]:
            raise DataError("no row of it is left to mix", where=f"data set {empty[0]!r}", fix="remove the entry")
        lengths = [np.array([len(each.input_ids) for each in part.samples], dtype=np.int64) for part in self.parts]
        order = mix(lengths, weights_of(datasets), cfg)
        times = Counter(order)
        used = [[index for index in range(len(each)) if times[part, index]] for part, each in enumerate(lengths)]
        for number, part in enumerate(self.parts):
            part.use(used[number], [times[number, index] - 1 for index in used[number]])
        place = {(part, old): new for part, kept in enumerate(used) for new, old in enumerate(kept)}
        self.order = [(part, place[part, index]) for part, index in order]

    def counts(self) -> SplitCounts:
        """The account as a record, checked, with that of each data set in it."""
        datasets = {part.name: part.counts() for part in self.parts}
        counts = SplitCounts.model_validate({**_sums(list(datasets.values())), "datasets": datasets})
        counts.check()
        return counts


def dataset_names(datasets: Sequence[DatasetConfig]) -> list[str]:
    """What the account calls each data set: its path, with configuration and split where they say something."""
    names: list[str] = []
    for dataset in datasets:
        parts = [dataset.path, dataset.name or "", "" if dataset.split == "train" else dataset.split]
        name = " ".join(part for part in parts if part)
        again = sum(1 for each in names if each == name or each.startswith(f"{name} #"))
        names.append(f"{name} #{again + 1}" if again else name)
    return names


def _sums(parts: list[SplitCounts]) -> dict[str, int | Counter[str]]:
    """Sums of all numbers, by field; of `longest` the largest."""
    sums: dict[str, int | Counter[str]] = {"longest": max((part.longest for part in parts), default=0)}
    for name in ("dropped", "dropped_tokens"):
        reasons: Counter[str] = Counter()
        for part in parts:
            reasons.update(getattr(part, name))
        sums[name] = Counter(dict(sorted(reasons.items())))
    for name in SplitCounts.model_fields.keys() - {*sums, "datasets"}:
        sums[name] = sum(getattr(part, name) for part in parts)
    return sums


def split_off(cfg: SftConfig, train: SplitAccount) -> SplitAccount:
    """Moves `val_set_size` of the rows, chosen by the seed, into a split of their own.

    All samples that were made of a row stay together.

    Raises:
        DataError: no row would be left on one side.
    """
    rows: list[tuple[int, int]] = []
    for number, part in enumerate(train.parts):
        rows += [(number, row) for row in dict.fromkeys(map(_row, part.samples))]
    count = len(rows)
    wanted = round(cfg.val_set_size * count) if cfg.val_set_size < 1 else int(cfg.val_set_size)
    if not 0 < wanted < count:
        fix = f"choose a size that leaves rows on both sides of {count}"
        raise DataError(f"{wanted} of {count} samples", where=f"val_set_size {cfg.val_set_size}", fix=fix)
    order: list[int] = np.random.default_rng(cfg.seed).permutation(count).tolist()
    chosen = [rows[index] for index in order[:wanted]]
    held_out = SplitAccount("eval")
    for number, part in enumerate(train.parts):
        held_out.parts.append(_moved(part, {row for each, row in chosen if each == number}))
    return held_out


def _row(sample: TokenizedSample) -> int:
    return sample.origin.row


def _moved(part: Account, rows: set[int]) -> Account:
    """A new account with the samples of these rows, which leave the old one."""
    held_out = Account(part.cfg, part.name, [each for each in part.samples if _row(each) in rows], rows_in=len(rows))
    held_out.expanded = len(held_out.samples) - len(rows)
    held_out.tokens_in = sum(len(sample.input_ids) for sample in held_out.samples)
    part.samples = [each for each in part.samples if _row(each) not in rows]
    part.rows_in -= held_out.rows_in
    part.expanded -= held_out.expanded
    part.tokens_in -= held_out.tokens_in
    return held_out


def settle_overlap(cfg: SftConfig, train: SplitAccount, held_out: SplitAccount) -> None:
    """Does to held-out samples whose tokens are trained on too what `eval_overlap` says.

    Raises:
        DataError: there are some, with `eval_overlap: error`; or nothing else is left to evaluate on.
    """
    trained = {digest_of(sample, labels=False): sample.origin.place for part in train.parts for sample in part.samples}
    total = sum(len(part.samples) for part in held_out.parts)
    found = [
        (sample, part, trained[digest])
        for part in held_out.parts
        for sample in part.samples
        if (digest := digest_of(sample, labels=False)) in trained
    ]
    if found and (cfg.eval_overlap == "error" or (cfg.eval_overlap == "drop" and len(found) == total)):
        sample, _, twin = found[0]
        message = (
            f"{len(found)} of {total} held-out samples are trained on too; the first: {sample.origin.place} is {twin}"
        )
        fix = "take them out of one side; `eval_overlap: drop` leaves them out, `keep` evaluates on them all the same"
        raise DataError(message, where="held-out data", fix=fix)
    for sample, part, twin in found:
        if cfg.eval_overlap == "keep":
            part.overlap += 1
        else:
            part.bad.append(BadRow(sample.origin, "overlap", f"the same tokens as {twin}, which is trained on"))
            part.dropped_tokens["overlap"] += len(sample.input_ids)
    if cfg.eval_overlap == "drop":
        for part in held_out.parts:
            part.samples = [each for each in part.samples if digest_of(each, labels=False) not in trained]
