"""The accounts of all data sets of a split, and what is done to them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sft_data.account import Excess
from sft_data.duplicate import SeenWords, first_equal, first_in
from sft_data.excess import price_text
from sft_data.mix import mix, weights_of
from sft_data.part_account import Numbers, PartAccount
from sft_schema import DataError, SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import SplitCounts


@dataclass(slots=True)
class SplitAccount:
    """What happened to the rows of one split.

    Attributes:
        name: `train` or `eval`.
        parts: one account for each data set, in the config's order.
        order: int64 `[n, 2]`: (data set, sample) in the order of an epoch without shuffling; None for one after the
            other.
    """

    name: str
    parts: list[PartAccount] = field(default_factory=list[PartAccount])
    order: Numbers | None = None

    def columns(self) -> dict[str, Numbers]:
        """`sample` (its number over all shards), `length` and `trained` of the samples of an epoch, int64 `[n]` each.

        Samples that are repeated come as often as they are trained on.
        """
        order = self.order
        if order is None:
            left = [np.flatnonzero(part.left) for part in self.parts]
            owner = np.repeat(np.arange(len(left)), [len(each) for each in left])
            order = np.stack([owner, np.concatenate(left)], axis=1)
        found = {name: np.empty(len(order), dtype=np.int64) for name in ("sample", "length", "trained")}
        for number, part in enumerate(self.parts):
            own = order[:, 0] == number
            samples = order[own, 1]
            found["sample"][own] = samples + part.first
            found["length"][own], found["trained"][own] = part.length[samples], part.trained[samples]
        return found

    def quarantined(self) -> Iterator[dict[str, Any]]:
        """A line for each row that was set aside, with its reason."""
        for part in self.parts:
            yield from part.quarantined()

    def require_samples(self) -> None:
        """Raises DataError when samples are too long, with the price of every way out, or when none is left."""
        excess = Excess()
        for part in self.parts:
            excess.add(part.total.excess)
        if excess.count:
            self._refuse_excess(excess)
        useless = [part for part in self.parts if not part.left.any() and part.lost() and self.name == "train"]
        if useless or not any(part.left.any() for part in self.parts):
            part = (useless or self.parts)[0]
            bad = part.first_bad
            first = "" if bad is None else f"; the first: {bad.origin.place}: {bad.detail}"
            message = (
                f"no row of {part.total.rows_in} is left, set aside: {dict(part.reasons + part.dropped_rows)}{first}"
            )
            where = f"{self.name} data, {part.name!r}"
            raise DataError(message, where=where, fix="correct the rows or the data set's settings")

    def _refuse_excess(self, excess: Excess) -> None:
        limit, rows = self.parts[0].cfg.sequence_len, sum(part.total.rows_in for part in self.parts)
        message = (
            f"{excess.count} of {rows} samples are longer than sequence_len {limit}, "
            f"the longest has {excess.longest} tokens"
        )
        fix = f"`sequence_len: {excess.longest}` keeps everything; {price_text(excess.rows, excess.tokens)}"
        raise DataError(message, where="datasets", fix=fix)

    def drop_duplicates(self, cfg: SftConfig) -> None:
        """Leaves out samples of the same tokens and labels, and rows of nearly the same words, as the config says."""
        if cfg.dataset_exact_deduplication:
            heads = _Several(self.parts, [part.heads for part in self.parts])
            first = first_equal(np.concatenate([part.digests("digest")[part.heads] for part in self.parts]))
            for index in np.flatnonzero(first != np.arange(len(first))).tolist():
                part, head = heads.at(index)
                part.drop_whole(head, "duplicate", "the same tokens and labels as {}", heads.at(int(first[index])))
        if cfg.dataset_near_deduplication is not None:
            self._drop_near(SeenWords(cfg.dataset_near_deduplication))

    def _drop_near(self, seen: SeenWords) -> None:
        rows: list[tuple[PartAccount, int]] = []
        for part in self.parts:
            heads, before, twin = set(part.heads.tolist()), -1, None
            for sample, minima in enumerate(part.minima()):
                if sample not in heads or minima is None or not part.left[sample]:
                    continue
                if int(part.row[sample]) != before:  # once for all turns that a row was made into
                    before, twin = int(part.row[sample]), seen.twin(minima, len(rows))
                    rows.append((part, sample))
                if twin is not None:
                    detail = f"{twin[1]:.0%} of its five-word sequences are those of {{}}"
                    part.drop_whole(sample, "near_duplicate", detail, rows[twin[0]])

    def mix(self, cfg: SftConfig, datasets: Sequence[DatasetConfig]) -> None:
        """Sets the order, and counts what `mix_strategy` leaves out or repeats."""
        if cfg.mix_strategy == "concat":
            return
        if empty := [part.name for part in self.parts if not part.left.any()]:
            raise DataError("no row of it is left to mix", where=f"data set {empty[0]!r}", fix="remove the entry")
        left = [np.flatnonzero(part.left) for part in self.parts]
        lengths = [part.length[samples] for part, samples in zip(self.parts, left, strict=True)]
        order = mix(lengths, weights_of(datasets), cfg)
        for number, (part, samples) in enumerate(zip(self.parts, left, strict=True)):
            own = order[:, 0] == number
            order[own, 1] = samples[order[own, 1]]
            part.use(np.bincount(order[own, 1], minlength=len(part.left)))
        self.order = order

    def counts(self) -> SplitCounts:
        """The account as a record, checked, with that of each data set in it."""
        datasets = {part.name: part.counts() for part in self.parts}
        counts = SplitCounts.model_validate({**_sums(list(datasets.values())), "datasets": datasets})
        counts.check()
        return counts


class _Several:
    """Samples of several data sets, numbered one after the other.

    Args:
        parts: the data sets.
        samples: int64 `[n]` for each: which of its samples.
    """

    def __init__(self, parts: Sequence[PartAccount], samples: Sequence[Numbers]) -> None:
        self._parts, self._samples = parts, samples
        self._starts = np.cumsum([0, *map(len, samples)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def at(self, index: int) -> tuple[PartAccount, int]:
        """Data set and sample."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[number], int(self._samples[number][index - self._starts[number]])


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
    rows = [np.unique(part.row[part.left]) for part in train.parts]
    count = sum(len(each) for each in rows)
    wanted = round(cfg.val_set_size * count) if cfg.val_set_size < 1 else int(cfg.val_set_size)
    if not 0 < wanted < count:
        fix = f"choose a size that leaves rows on both sides of {count}"
        raise DataError(f"{wanted} of {count} samples", where=f"val_set_size {cfg.val_set_size}", fix=fix)
    chosen = np.zeros(count, dtype=bool)
    chosen[np.random.default_rng(cfg.seed).permutation(count)[:wanted]] = True
    borders = np.cumsum([len(each) for each in rows])[:-1]
    moved = [each[own] for each, own in zip(rows, np.split(chosen, borders), strict=True)]
    return SplitAccount("eval", [part.part_off(each) for part, each in zip(train.parts, moved, strict=True)])


def settle_overlap(cfg: SftConfig, train: SplitAccount, held_out: SplitAccount) -> None:
    """Does to held-out samples whose tokens are trained on too what `eval_overlap` says.

    Raises:
        DataError: there are some, with `eval_overlap: error`; or nothing else is left to evaluate on.
    """
    known, samples = (
        _Several(split.parts, [np.flatnonzero(part.left) for part in split.parts]) for split in (train, held_out)
    )
    trained, evaluated = (
        np.concatenate([part.digests("text")[part.left] for part in split.parts]) for split in (train, held_out)
    )
    twins = first_in(evaluated, trained)
    found = np.flatnonzero(twins >= 0).tolist()
    if found and (cfg.eval_overlap == "error" or (cfg.eval_overlap == "drop" and len(found) == len(samples))):
        (part, sample), (other, twin) = samples.at(found[0]), known.at(int(twins[found[0]]))
        message = (
            f"{len(found)} of {len(samples)} held-out samples are trained on too; "
            f"the first: {part.place(sample)} is {other.place(twin)}"
        )
        fix = "take them out of one side; `eval_overlap: drop` leaves them out, `keep` evaluates on them all the same"
        raise DataError(message, where="held-out data", fix=fix)
    for index in found:
        part, sample = samples.at(index)
        if cfg.eval_overlap == "keep":
            part.overlap += 1
        else:
            detail = "the same tokens as {}, which is trained on"
            part.drop(sample, "overlap", detail, known.at(int(twins[index])))
