from __future__ import annotations

import pytest

from sft_cli.outcome import answers_text, duration, figures, figures_text, health_text, is_exact
from sft_schema.record import RunSummary


def test_figures_compare_before_and_after(summary: RunSummary) -> None:
    found = {figure.name: (figure.before, figure.value) for figure in figures(summary)}
    assert found == {
        "Exact match": ("0.0%", "87.5%"),
        "Held-out loss": ("3.2500", "0.5000"),
        "Training loss": ("3.5000", "0.2500"),
        "Optimizer steps": (None, "100"),
        "Tokens": (None, "120,000"),
        "Time": (None, "3 min 07 s"),
        "Speed": (None, "2,000"),
        "Weights trained": (None, "25.0%"),
    }
    assert "0.0% -> 87.5%" in figures_text(summary)


def test_what_was_not_measured_is_left_out() -> None:
    bare = RunSummary(
        steps=0, epochs=0, tokens=0, trained_tokens=0, trainable_parameters=0, parameters=0, seconds=0, train_seconds=0
    )
    names = {figure.name for figure in figures(bare)}
    assert names == {"Optimizer steps", "Tokens", "Time", "Speed", "Weights trained"}


def test_findings_are_shown_with_their_advice_and_without_control_characters(summary: RunSummary) -> None:
    first, second = health_text(summary).splitlines()
    assert first.startswith("health  step 7: it <b>leaps</b>")
    assert "\x1b" not in first
    assert second == "        lower it [grad_spike]"
    assert health_text(summary.model_copy(update={"findings": ()})) == "health  nothing unusual"


def test_answers_show_prompt_wanted_before_and_after(summary: RunSummary) -> None:
    first, second = answers_text(summary.samples).split("\n\n")
    assert first.splitlines() == [
        "prompt  <|im_start|>user",
        "        2+2?",
        "wanted  4",
        "before  <script>x</script>",
        "after    4",
    ]
    assert second.splitlines() == ["prompt  3+3?", "wanted  6", "after   (empty)"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (187, "3 min 07 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_white_space_around_an_answer_does_not_count() -> None:
    assert is_exact(" 4\n", "4")
    assert not is_exact("4 .", "4")
    assert not is_exact(None, "4")
