"""Several runs as tables: a line for each thing, a column for each run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sft_cli.run_folder import RunFolder

Value = float | int | str | None

_LOWER, _HIGHER = "lower", "higher"
FIGURES: tuple[tuple[str, str, str | None], ...] = (
    ("eval_loss_after", "held-out loss", _LOWER),
    ("exact_match_after", "exact match", _HIGHER),
    ("eval_loss_before", "held-out loss before", None),
    ("train_loss_last", "training loss, last", None),
    ("train_loss_first", "training loss, first", None),
    ("steps", "optimizer steps", None),
    ("epochs", "epochs", None),
    ("tokens", "tokens", None),
    ("trained_tokens", "trained tokens", None),
    ("trainable_parameters", "weights trained", None),
    ("train_seconds", "seconds of training", _LOWER),
)
"""Fields of the summary, what they are called, and which end is better; None where neither is."""

COUNTS = ("rows_in", "rows_out", "tokens", "trained_tokens", "longest")
_NOT_SETTINGS = ("output_dir", "dataset_prepared_path")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing of all runs.

    Attributes:
        name: what it is.
        values: one for each run; None where a run has none.
        best: the runs that have the best value; empty where none is better.
    """

    name: str
    values: tuple[Value, ...]
    best: tuple[int, ...] = ()


def metrics(runs: Sequence[RunFolder]) -> list[Line]:
    """Outcome and, of the metrics, the lowest held-out loss, the largest gradient norm and the middle speed."""
    found = [_figure(runs, key, name, better) for key, name, better in FIGURES]
    found.append(_line("lowest held-out loss", [_of(run, "eval_loss", min) for run in runs], _LOWER))
    found.append(_line("largest gradient norm", [_of(run, "grad_norm", max) for run in runs], None))
    found.append(_line("tokens per second, median", [_of(run, "tokens_per_second", _median) for run in runs], _HIGHER))
    found.append(_line("findings", [_findings(run) for run in runs], None))
    return [line for line in found if any(value is not None for value in line.values)]


def settings(runs: Sequence[RunFolder]) -> list[Line]:
    """Settings that are not the same in all runs; where a run writes to is no difference."""
    flat = [_flat(run.config) for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    lines = [Line(key, tuple(each.get(key) for each in flat)) for key in keys if key not in _NOT_SETTINGS]
    return [line for line in lines if len({repr(value) for value in line.values}) > 1]


def data(runs: Sequence[RunFolder]) -> list[Line]:
    """The accounts of the data, and whether they are the same prepared data."""
    if not any(run.data for run in runs):
        return []
    lines = [Line("prepared data", tuple(run.data and run.data.fingerprint for run in runs))]
    for split in ("train", "eval"):
        counts = [run.data.splits.get(split) if run.data else None for run in runs]
        for name in COUNTS:
            lines.append(Line(f"{split} {name}", tuple(getattr(each, name) if each else None for each in counts)))
        dropped = tuple(sum(each.dropped.values()) if each else None for each in counts)
        lines.append(Line(f"{split} rows dropped", dropped))
    return [line for line in lines if any(value is not None for value in line.values)]


def _figure(runs: Sequence[RunFolder], key: str, name: str, better: str | None) -> Line:
    return _line(name, [getattr(run.summary, key) if run.summary else None for run in runs], better)


def _line(name: str, values: Sequence[Value], better: str | None) -> Line:
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    if better is None or len(numbers) < 2 or min(numbers) == max(numbers):
        return Line(name, tuple(values))
    end = min(numbers) if better == _LOWER else max(numbers)
    return Line(name, tuple(values), tuple(index for index, value in enumerate(values) if value == end))


def _of(run: RunFolder, key: str, choose: Any) -> float | None:
    values = [float(line[key]) for line in run.metrics if isinstance(line.get(key), int | float)]
    return choose(values) if values else None


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _findings(run: RunFolder) -> str | None:
    if run.summary is None:
        return None
    return ", ".join(each.code for each in run.summary.findings) or "none"


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Value]:
    """`{"a": [{"b": 1}]}` as `{"a.0.b": 1}`."""
    found: dict[str, Value] = {}
    for key, each in value.items():
        name = f"{before}{key}"
        if isinstance(each, dict) and each:
            found |= _flat(cast("dict[str, Any]", each), f"{name}.")
        elif isinstance(each, list) and each:
            listed = cast("list[Any]", each)
            found |= _flat({str(index): item for index, item in enumerate(listed)}, f"{name}.")
        else:
            found[name] = each if isinstance(each, int | float | str) or each is None else str(cast(object, each))
    return found
