"""From log lines to findings, without a model."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_train.health import SYMPTOMS, History, RunFacts, detect, findings
from sft_train.health.detect import _OF_EVALUATION, _OF_TRAINING

FACTS = RunFacts(steps=100, warmup=3, vocabulary=32_000)
ELSEWHERE = {"not_finite", "weights_frozen", "weights_unused"}
"""Told from weights, not from log lines."""
Line = dict[str, Any]


def falling(steps: int = 100, **changes: Any) -> list[Line]:
    """A healthy run: the loss falls from 3 to 1, the rate by a cosine. Changes are values, or functions of the step."""
    lines = []
    for step in range(1, steps + 1):
        line: Line = {
            "step": step,
            "loss": 1 + 2 * math.exp(-step / 15),
            "grad_norm": 1.0 + 0.2 * math.sin(step),
            "learning_rate": 1e-4 * (1 + math.cos(math.pi * (step - 1) / steps)) / 2,
            "tokens_per_second": 1000.0,
            "trained_tokens_per_second": 300.0,
        }
        lines.append(line | {key: value(step) if callable(value) else value for key, value in changes.items()})
    return lines


def with_evals(lines: list[Line], losses: dict[int, float]) -> list[Line]:
    evals = [{"step": step, "eval_loss": loss} for step, loss in losses.items()]
    return sorted([*lines, *evals], key=lambda line: line["step"])


def codes(lines: list[Line], facts: RunFacts = FACTS) -> list[str]:
    return [each.code for each in findings(lines, facts)]


def test_each_detector_has_its_row_and_each_row_its_detector() -> None:
    assert _OF_TRAINING.keys() | _OF_EVALUATION.keys() | ELSEWHERE == SYMPTOMS.keys()


def test_nothing_is_said_of_a_healthy_run() -> None:
    assert codes(with_evals(falling(), {0: 3.0, 50: 1.2, 75: 1.1, 100: 1.12})) == []


SICK: dict[str, tuple[dict[str, Any], RunFacts]] = {
    "start_high": ({"loss": lambda step: 20.0 - step / 10}, FACTS),
    "start_low": ({"loss": 0.03}, FACTS),
    "nothing_trained": ({"loss": 0.0, "grad_norm": 0.0, "trained_tokens_per_second": 0.0}, FACTS),
    "few_trained": ({"trained_tokens_per_second": 3.0}, FACTS),
    "loss_zero": ({"loss": 0.0}, FACTS),
    "loss_near_zero": ({"loss": lambda step: 3 / step**1.5}, FACTS),
    "loss_diverged": ({"loss": lambda step: 3.0 + step}, FACTS),
    "loss_rising": ({"loss": lambda step: 2.0 + step / 60}, FACTS),
    "loss_flat": ({"loss": 2.0}, FACTS),
    "grad_zero": ({"grad_norm": 0.0}, FACTS),
    "grad_low": ({"grad_norm": 1e-4}, FACTS),
    "grad_high": ({"grad_norm": 300.0}, FACTS),
    "grad_spike": ({"grad_norm": lambda step: 150.0 if step == 40 else 1.0}, FACTS),
    "rate_not_finite": ({"learning_rate": math.nan}, FACTS),
    "rate_zero": ({"learning_rate": 0.0}, FACTS),
    "rate_flat": ({"learning_rate": 1e-4}, FACTS),
    "warmup_too_long": ({}, RunFacts(steps=100, warmup=100)),
}


@pytest.mark.parametrize("code", SICK)
def test_each_symptom_is_named_alone_and_once(code: str) -> None:
    changes, facts = SICK[code]
    assert codes(falling(**changes), facts) == [code]


def test_a_held_out_loss_that_rises_while_the_training_loss_falls_is_overfitting() -> None:
    lines = with_evals(falling(), {0: 3.0, 20: 1.5, 40: 1.7, 60: 1.9})
    (found,) = findings(lines, FACTS)
    assert (found.code, found.step) == ("eval_diverging", 60)
    assert "lowest at step 20 (1.5) and is 1.9 at step 60" in found.sentence
    assert "load_best_model_at_end" in found.advice


def test_one_held_out_loss_above_the_lowest_is_no_trend() -> None:
    assert codes(with_evals(falling(), {0: 3.0, 20: 1.5, 40: 1.7, 60: 1.4})) == []


def test_a_held_out_loss_that_rises_with_the_training_loss_is_not_overfitting() -> None:
    lines = falling(loss=lambda step: 2 + step / 200)
    assert "eval_diverging" not in codes(with_evals(lines, {0: 3.0, 20: 1.5, 40: 1.7, 60: 1.9}))


def test_a_low_loss_is_no_fault_where_the_held_out_loss_is_low_too() -> None:
    lines = falling(loss=lambda step: 3 / step**1.5)
    assert codes(with_evals(lines, {0: 3.0, 10: 0.1, 30: 0.02, 60: 0.01})) == []
    assert codes(with_evals(lines, {0: 3.0})) == []
    (found,) = findings(with_evals(lines, {0: 3.0, 30: 2.0}), FACTS)
    assert (found.code, found.step) == ("loss_near_zero", 30)


def test_a_constant_rate_is_no_fault_where_it_is_asked_for() -> None:
    facts = RunFacts(steps=100, schedule="constant", steady=True)
    assert codes(falling(learning_rate=1e-4), facts) == []


def test_a_rate_that_is_0_in_the_warm_up_or_at_the_end_is_no_fault() -> None:
    assert codes(falling(learning_rate=lambda step: 0.0 if step in (1, 2, 3, 99, 100) else 1e-4 / step)) == []


def test_numbers_that_a_line_lacks_are_no_fault() -> None:
    assert codes([{"step": line["step"], "loss": line["loss"]} for line in falling()]) == []
    assert codes([{"step": 3, "eval_loss": 2.0}, {"step": 4, "eval_loss": 3.0}, {"step": 5, "eval_loss": 4.0}]) == []


def test_a_gradient_that_float16_lost_is_no_spike() -> None:
    assert codes(falling(grad_norm=lambda step: math.inf if step in (1, 2, 30) else 1.0)) == []


_number = st.floats(0, 1e6) | st.sampled_from([0.0, 1e-9])
_lines = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "loss": _number,
            "grad_norm": _number | st.just(math.inf) | st.just(math.nan),
            "learning_rate": _number | st.just(math.nan),
            "eval_loss": _number,
            "tokens_per_second": _number,
            "trained_tokens_per_second": _number,
            "epoch": _number,
        },
    ),
    max_size=60,
)


def numbered(lines: list[Line]) -> list[Line]:
    return [{"step": number, **line} for number, line in enumerate(lines)]


@given(lines=_lines, steps=st.integers(1, 100), warmup=st.integers(0, 120))
def test_any_numbers_give_each_code_at_most_once_and_whole_sentences(
    lines: list[Line], steps: int, warmup: int
) -> None:
    found = findings(numbered(lines), RunFacts(steps, warmup, vocabulary=100))
    assert len({each.code for each in found}) == len(found)
    assert [each.step for each in found] == sorted(each.step for each in found)
    assert not any("{" in each.sentence or "None" in each.sentence for each in found)


@given(lines=_lines, cut=st.integers(0, 60))
def test_what_is_found_does_not_depend_on_where_a_run_was_cut(lines: list[Line], cut: int) -> None:
    """A resumed run has the same lines, and goes on from them."""
    whole = findings(numbered(lines), FACTS)
    before = findings(numbered(lines)[:cut], FACTS)
    history = History()
    for line in numbered(lines)[:cut]:
        history.add(line["step"], line)
    after = [each for line in numbered(lines)[cut:] for each in detect(history, FACTS, line["step"], line)]
    found = {each.code: each for each in reversed([*before, *after])}
    assert sorted(found.values(), key=str) == sorted(whole, key=str)


@given(
    noise=st.lists(st.floats(-0.15, 0.15), min_size=100, max_size=100),
    start=st.floats(1.5, 4),
    norm=st.floats(0.1, 10),
)
def test_noise_on_a_healthy_run_shows_nothing(noise: list[float], start: float, norm: float) -> None:
    """The loss falls by a third within a fifth of the run and then only jitters, as in most fine-tuning."""
    lines = falling(
        loss=lambda step: start * (2 / 3 + math.exp(-step / 8) / 3 * 1.1) + noise[step - 1],
        grad_norm=lambda step: norm * (1 + noise[step - 1]),
    )
    assert codes(with_evals(lines, {0: start, 50: 0.75 * start, 100: 0.74 * start})) == []


def test_no_torch_is_needed() -> None:
    code = "import sys, sft_train.health; assert not {'torch', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
