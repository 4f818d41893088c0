"""From log lines to what is wrong: one small function a row of the table.

Each looks at the newest line and at as many before it as it needs, so a run of any length is watched at the same cost
a line. What it returns are the numbers of the sentence, or None where all is well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from sft_schema.record import HealthFinding
from sft_train.health.history import History, RunFacts, TrainLine
from sft_train.health.table import finding

Values = dict[str, Any]
Detector = Callable[[History, RunFacts], Values | None]

_RECENT, _LONG, _TREND = 3, 10, 20
"""Log lines that stand for "now", for "all the time", and from which on a trend is looked for."""
_LOW, _HIGH = 0.05, 100.0
"""A loss that is nothing, and a gradient norm that is too much."""


def findings(lines: Iterable[Mapping[str, Any]], facts: RunFacts) -> list[HealthFinding]:
    """All that is wrong with a run, each code where it is seen first.

    Args:
        lines: as in metrics.jsonl: `step`, and what was logged at it.
        facts: what is known of the run.
    """
    history, found = History(), dict[str, HealthFinding]()
    for line in lines:
        for each in detect(history, facts, line["step"], line):
            found.setdefault(each.code, each)
    return list(found.values())


_HIGH_LINES = 10
"""Log lines after which the loss must be below that of guessing."""


def detect(history: History, facts: RunFacts, step: int, logs: Mapping[str, Any]) -> list[HealthFinding]:
    """Takes a log line into the history, and tells what it shows.

    Args:
        history: of the lines before; grows by this one.
        facts: what is known of the run.
        step: optimizer step.
        logs: see `History.add`.
    """
    grown = history.add(step, logs)
    detectors = _OF_TRAINING if grown == "train" else _OF_EVALUATION if grown == "eval" else {}
    seen = ((code, look(history, facts)) for code, look in detectors.items())
    return [finding(code, step, **values) for code, values in seen if values is not None]


def _loss(lines: Sequence[TrainLine]) -> float:
    return median(line.loss for line in lines)


def _norms(lines: Sequence[TrainLine]) -> list[float]:
    return [line.norm for line in lines if line.norm is not None]


def _start_high(history: History, facts: RunFacts) -> Values | None:
    """A model that never saw the chat format begins high as well, and comes down within a few lines."""
    if len(history.train) != _HIGH_LINES or facts.vocabulary is None:
        return None
    if min(line.loss for line in history.train) <= math.log(facts.vocabulary) + 1:
        return None  # one that has risen since is another symptom
    return {"loss": history.train[-1].loss, "vocabulary": facts.vocabulary, "guess": math.log(facts.vocabulary)}


def _start_low(history: History, facts: RunFacts) -> Values | None:
    loss = history.train[-1].loss
    return {"loss": loss} if len(history.train) == 1 and 0 < loss < _LOW else None


def _nothing_trained(history: History, facts: RunFacts) -> Values | None:
    return {} if history.train[-1].share == 0 else None


def _few_trained(history: History, facts: RunFacts) -> Values | None:
    shares = [line.share for line in history.train[-5:] if line.share is not None]
    found = len(shares) == 5 and 0 < max(shares) < 0.005
    return {"share": median(shares)} if found else None


def _loss_zero(history: History, facts: RunFacts) -> Values | None:
    last = history.train[-1]
    return {} if last.loss == 0 and last.share != 0 else None


def _near_zero(history: History) -> Values | None:
    lines = history.train
    if len(lines) <= _RECENT or lines[0].loss <= 10 * _LOW:
        return None
    now = _loss(lines[-_RECENT:])
    return {"first": lines[0].loss, "loss": now} if 0 < now < _LOW else None


def _loss_near_zero(history: History, facts: RunFacts) -> Values | None:
    """Without held-out rows; with them it is told when they are looked at again."""
    return None if history.evals else _near_zero(history)


def _known_by_heart(history: History, facts: RunFacts) -> Values | None:
    """A held-out loss that is low too shows a task that is easy, and not rows learnt by heart."""
    found = _near_zero(history)
    return None if found is None or history.evals[-1][1] < max(10 * found["loss"], 4 * _LOW) else found


def _loss_diverged(history: History, facts: RunFacts) -> Values | None:
    first, now = history.train[0].loss, _loss(history.train[-_RECENT:])
    return {"first": first, "loss": now} if len(history.train) >= _RECENT and now > _far_above(first) else None


def _far_above(loss: float) -> float:
    return max(2 * loss, loss + 2)


def _trend(history: History, facts: RunFacts) -> tuple[float, float] | None:
    """Loss at the start and now, when it is time to compare: at 20, 40, 80... lines after a quarter of the run.

    Looked at on every line, chance alone would show a trend some day.
    """
    lines = history.train
    times = len(lines) / _TREND
    if times < 1 or not math.log2(times).is_integer() or lines[-1].step <= max(facts.warmup, facts.steps / 4):
        return None
    start, now = _loss(lines[:5]), _loss(lines[-_LONG:])
    return (start, now) if start > 4 * _LOW and now <= _far_above(lines[0].loss) else None


def _loss_rising(history: History, facts: RunFacts) -> Values | None:
    trend = _trend(history, facts)
    if trend is None or trend[1] <= 1.05 * trend[0]:
        return None
    return {"first": trend[0], "loss": trend[1], "lines": len(history.train)}


def _loss_flat(history: History, facts: RunFacts) -> Values | None:
    trend = _trend(history, facts)
    if trend is None or not 0.98 * trend[0] <= trend[1] <= 1.05 * trend[0]:
        return None
    return {"first": trend[0], "loss": trend[1], "lines": len(history.train)}


def _grad_zero(history: History, facts: RunFacts) -> Values | None:
    last = history.train[-1]
    return {} if last.norm == 0 and last.loss > 0 and last.share != 0 else None


def _grad_low(history: History, facts: RunFacts) -> Values | None:
    lines = history.train[-_LONG:]
    norms = _norms(lines)
    found = len(norms) == _LONG and 0 < max(norms) < 1e-3 and min(line.loss for line in lines) > 10 * _LOW
    return {"norm": max(norms), "loss": lines[-1].loss} if found else None


def _grad_high(history: History, facts: RunFacts) -> Values | None:
    norms = _norms(history.train[-_LONG:])
    return {"norm": median(norms)} if len(norms) == _LONG and median(norms) > _HIGH else None


def _grad_spike(history: History, facts: RunFacts) -> Values | None:
    *before, last = _norms(history.train[-50:]) or [0.0]
    if len(before) < 5 or not math.isfinite(last) or last <= max(_HIGH, 10 * median(before)):
        return None
    return {"norm": last, "before": median(before)}


def _rate_not_finite(history: History, facts: RunFacts) -> Values | None:
    rate = history.train[-1].rate
    return {"rate": rate} if rate is not None and not math.isfinite(rate) else None


def _rate_zero(history: History, facts: RunFacts) -> Values | None:
    lines = [line for line in history.train[-_RECENT:] if line.step > facts.warmup]
    return {"steps": facts.steps} if len(lines) == _RECENT and all(line.rate == 0 for line in lines) else None


def _rate_flat(history: History, facts: RunFacts) -> Values | None:
    """Looked at once, on the first line of the second half: a run that comes so far has shown its schedule."""
    *before, last = history.train
    half = facts.steps / 2
    if facts.steady or len(before) < 5 or not before[-1].step < half <= last.step:
        return None
    rates = [line.rate for line in history.train if line.rate]
    same = len(rates) == len(history.train) and max(rates) - min(rates) <= 1e-6 * max(rates)
    return {"rate": last.rate, "schedule": facts.schedule} if same else None


def _warmup_too_long(history: History, facts: RunFacts) -> Values | None:
    found = len(history.train) == 1 and facts.warmup >= facts.steps > 1
    return {"warmup": facts.warmup, "steps": facts.steps} if found else None


def _eval_diverging(history: History, facts: RunFacts) -> Values | None:
    best_step, best = min(history.evals, key=lambda each: each[1])
    last = history.evals[-2:]
    if not all(step > best_step and loss > 1.05 * best for step, loss in last):
        return None
    until = [line for line in history.train if line.step <= best_step] or history.train[:1]
    if not until:
        return None
    then, now = _loss(until[-_RECENT:]), _loss(history.train[-_RECENT:])
    return {"best_step": best_step, "best": best, "loss": last[-1][1], "then": then, "now": now} if now < then else None


_OF_TRAINING: dict[str, Detector] = {
    "start_high": _start_high,
    "start_low": _start_low,
    "warmup_too_long": _warmup_too_long,
    "nothing_trained": _nothing_trained,
    "few_trained": _few_trained,
    "loss_zero": _loss_zero,
    "loss_near_zero": _loss_near_zero,
    "loss_diverged": _loss_diverged,
    "loss_rising": _loss_rising,
    "loss_flat": _loss_flat,
    "grad_zero": _grad_zero,
    "grad_low": _grad_low,
    "grad_high": _grad_high,
    "grad_spike": _grad_spike,
    "rate_not_finite": _rate_not_finite,
    "rate_zero": _rate_zero,
    "rate_flat": _rate_flat,
}
_OF_EVALUATION: dict[str, Detector] = {"eval_diverging": _eval_diverging, "loss_near_zero": _known_by_heart}
