"""What became of the data, in lines that people read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sft_schema.record import Manifest, PackPlan, SplitCounts


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One number of the account: its name and its text for every split."""

    name: str
    values: tuple[str, ...]


def data_account(manifest: Manifest) -> list[AccountLine]:
    """The account of all splits, one value per split in the manifest's order; nothing is left out.

    Every reason for which a row was dropped has a line of its own; what happened to no row has none.
    """
    splits = list(manifest.splits.values())
    reasons = sorted({reason for split in splits for reason in split.dropped})
    of_tokens = sorted({reason for split in splits for reason in split.dropped_tokens})
    return [
        _line("rows read", [split.rows_in for split in splits]),
        *_if_any("samples more than rows", [split.expanded for split in splits]),
        _line("samples kept", [split.rows_out for split in splits]),
        *(_line(f"dropped: {reason}", [split.dropped.get(reason, 0) for split in splits]) for reason in reasons),
        *_if_any("samples repeated", [split.repeated for split in splits]),
        *_if_any("held-out samples trained on too", [split.overlap for split in splits]),
        _line("tokens", [split.tokens for split in splits]),
        AccountLine("trained tokens", tuple(_trained(split) for split in splits)),
        AccountLine("masked tokens", tuple(_masked(split) for split in splits)),
        _line("longest sample, tokens", [split.longest for split in splits]),
        *(
            _line(f"tokens dropped: {reason}", [split.dropped_tokens.get(reason, 0) for split in splits])
            for reason in of_tokens
        ),
        *_if_any("tokens repeated", [split.repeated_tokens for split in splits]),
        _line("samples cut", [split.cut_rows for split in splits]),
        _line("tokens cut off", [split.cut_tokens for split in splits]),
    ]


def dataset_lines(manifest: Manifest) -> list[str]:
    """A table of the data sets of each split, where a split has several."""
    head = ("", "rows read", "kept", "dropped", "repeated", "tokens", "trained")
    rows: list[tuple[str, ...]] = [head]
    for name, split in manifest.splits.items():
        for dataset, counts in split.datasets.items() if len(split.datasets) > 1 else ():
            numbers = (counts.rows_in, counts.rows_out, sum(counts.dropped.values()), counts.repeated, counts.tokens)
            rows.append((f"{name}: {dataset}", *(f"{number:,}" for number in numbers), _trained(counts)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    return lines if len(rows) > 1 else []


def account_text(manifest: Manifest, plan: PackPlan | None = None, lost_labels: int | None = None) -> str:
    """The account as an aligned table, with what packing made of the training samples.

    Args:
        manifest: the account.
        plan: rows of an epoch.
        lost_labels: trained tokens that packing leaves untrained, where they were counted.
    """
    table = [("", tuple(manifest.splits)), *((line.name, line.values) for line in data_account(manifest))]
    name_width = max(len(name) for name, _ in table)
    widths = [max(len(row[1][column]) for row in table) for column in range(len(manifest.splits))]
    lines = [
        f"{name:<{name_width}}  " + "  ".join(f"{value:>{width}}" for value, width in zip(row, widths, strict=True))
        for name, row in table
    ]
    lines += dataset_lines(manifest)
    if plan is not None:
        lines.append(
            f"{len(plan):,} rows of up to {plan.sequence_len:,} tokens, {percent(plan.efficiency)} full, "
            f"{len(plan.samples) / max(1, len(plan)):.1f} samples a row"
        )
        lines += _cuts(plan, lost_labels)
    return "\n".join(line.rstrip() for line in lines)


def _cuts(plan: PackPlan, lost_labels: int | None) -> list[str]:
    if not plan.cuts:
        return []
    lost = "at most as many" if lost_labels is None else f"{lost_labels:,}"
    return [f"{plan.cuts:,} samples cut between two rows in the first epoch, {lost} trained tokens lost by it"]


def percent(part: float) -> str:
    """A part of 1 as a percentage with one digit after the point."""
    return f"{100 * part:.1f}%"


def _line(name: str, counts: list[int]) -> AccountLine:
    return AccountLine(name, tuple(f"{count:,}" for count in counts))


def _if_any(name: str, counts: list[int]) -> list[AccountLine]:
    return [_line(name, counts)] if any(counts) else []


def _masked(split: SplitCounts) -> str:
    masked = split.tokens - split.trained_tokens
    return f"{masked:,} ({percent(masked / split.tokens if split.tokens else 0.0)})"


def _trained(split: SplitCounts) -> str:
    share = split.trained_tokens / split.tokens if split.tokens else 0.0
    return f"{split.trained_tokens:,} ({percent(share)})"
