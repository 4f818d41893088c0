"""What most tests look at: a row of hostile tokens, and the records of a small run."""

from __future__ import annotations

import pytest

from sft_data import InspectedRow
from sft_schema.record import (
    GeneratedAnswer,
    HealthFinding,
    InspectedToken,
    Manifest,
    RowOrigin,
    RunSummary,
    SplitCounts,
)

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><style>*{display:none}",
    "</pre></td></main>",
    "\"quoted\" & 'quoted' &amp; &#60;b&#62;",
    "\x00\x1b[31mred\x07\x7f",
    "\u202eright to left\u202c שלום",
    "\ud800 lone surrogate",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "line\nline\r\n\ttab  two spaces",
    "\u2028\u2029\ufeff\u200b",
)


def chatml(sample: int, messages: list[tuple[str, tuple[str, ...]]]) -> list[InspectedToken]:
    """The tokens of a conversation in ChatML, with the assistant's turns trained."""
    tokens: list[InspectedToken] = []

    def add(text: str, trained: bool, message: int | None, field: str) -> None:
        role = None if message is None else messages[message][0]
        tokens.append(InspectedToken(len(tokens), text, trained, message, role, field, sample, float(trained), "turn"))

    for index, (role, contents) in enumerate(messages):
        said = role == "assistant"
        add("<|im_start|>", False, None, "template")
        add(role, False, index, "role")
        add("\n", False, None, "template")
        for content in contents:
            add(content, said, index, "content")
        add("<|im_end|>", said, index if said else None, "end_of_turn" if said else "template")
        add("\n", False, None, "template")
    return tokens


@pytest.fixture
def hostile() -> tuple[str, ...]:
    return HOSTILE


@pytest.fixture
def row() -> InspectedRow:
    first = chatml(0, [("system", ("Be brief.",)), ("user", ("Hi",)), ("assistant", ("Hello", "!", ""))])
    second = chatml(1, [("user", HOSTILE), ("assistant", HOSTILE)])
    origins = (RowOrigin("a.jsonl", 16, "a.jsonl:17"), RowOrigin("<b>.jsonl", 0, "<b>.jsonl:1"))
    return InspectedRow(3, (*first, *second), origins)


@pytest.fixture
def summary() -> RunSummary:
    answers = (
        GeneratedAnswer(prompt="<|im_start|>user\n2+2?", wanted="4", before="<script>x</script>", after=" 4\n"),
        GeneratedAnswer(prompt="3+3?", wanted="6", before=None, after=""),
    )
    return RunSummary(
        steps=100,
        epochs=2.5,
        train_loss_first=3.5,
        train_loss_last=0.25,
        eval_loss_before=3.25,
        eval_loss_after=0.5,
        exact_match_before=0.0,
        exact_match_after=0.875,
        tokens=120_000,
        trained_tokens=30_000,
        trainable_parameters=1_000,
        parameters=4_000,
        seconds=187.0,
        train_seconds=60.0,
        samples=answers,
        findings=(HealthFinding(step=7, code="grad_spike", sentence="it <b>leaps</b>\x1b[2J", advice="lower it"),),
    )


@pytest.fixture
def manifest() -> Manifest:
    train = SplitCounts(
        rows_in=1010,
        rows_out=1000,
        dropped={"too_long": 7, "<i>odd</i>": 3},
        tokens=50_000,
        trained_tokens=12_500,
        cut_rows=2,
        cut_tokens=31,
        longest=512,
    )
    held_out = SplitCounts(rows_in=10, rows_out=10, tokens=500, trained_tokens=100, longest=80)
    return Manifest(
        fingerprint="0123abcd",
        versions={"sft-data": "0.1.0"},
        stop_tokens=("<|im_end|>",),
        splits={"train": train, "eval": held_out},
    )


@pytest.fixture
def metrics() -> list[dict[str, float]]:
    lines: list[dict[str, float]] = [{"step": 0, "eval_loss": 3.25}]
    for step in range(1, 101):
        lines.append({"step": step, "loss": 3.5 / step + 0.2, "learning_rate": 1e-3 * (1 - step / 101)})
    lines.append({"step": 50, "loss": float("nan"), "tokens_per_second": 2000.0})
    lines.append({"step": 100, "eval_loss": 0.5})
    return lines
