"""Contracts accept what keeps them and name what breaks them."""

from array import array
from dataclasses import replace
from typing import Any

import pytest

from sft_schema import IGNORE_INDEX, ContractError
from sft_schema.check import (
    check_batch,
    check_example,
    check_manifest,
    check_plan,
    check_rendered,
    check_row,
    check_sample,
)
from sft_schema.record import (
    Conversation,
    Example,
    Manifest,
    Message,
    PackedBatch,
    PackedRow,
    PackPlan,
    Rendered,
    RowOrigin,
    Segment,
    Segments,
    Span,
    SplitCounts,
    TokenizedSample,
    Tokens,
)

NO = IGNORE_INDEX


def ints(*values: int) -> Any:
    """An array with `tolist`, so that the package's tests need no numpy."""
    return array("q", values)


class Pieces:
    """A `[n, 3]` array for the plan's pieces."""

    def __init__(self, *rows: tuple[int, int, int]) -> None:
        self.rows = rows

    def tolist(self) -> list[list[int]]:
        return [list(row) for row in self.rows]


def pieces(*rows: tuple[int, int, int]) -> Any:
    return Pieces(*rows)


class Rows:
    """A `[1, t]` array for the batch's fields."""

    def __init__(self, *values: int) -> None:
        self.values = list(values)

    def tolist(self) -> list[list[int]]:
        return [self.values]


ROW = PackedRow(ints(7, 8, 9, 5, 6), ints(NO, 8, 9, NO, 6), ints(0, 3, 5), ints(0, 1))
BATCH = PackedBatch(Rows(7, 8, 9, 5, 6), Rows(NO, 8, 9, NO, 6), Rows(0, 1, 2, 0, 1), ints(0, 3, 5), 3)  # type: ignore[arg-type]
SAMPLE = TokenizedSample(ints(7, 8), ints(NO, 8), RowOrigin("d", 0, "d:1"))
PLAN = PackPlan(ints(1, 0, 2), ints(0, 2, 3), 9, 8)
WRAPPED = PackPlan(ints(1, 1, 2, 0), ints(0, 1, 4), 9, 8)
RENDERED = Rendered("ab cd", (Span(0, 2, 0, "content", 0), Span(3, 5, 1, "content", 0)), ("user", "assistant"))


def test_records_that_keep_their_contract_pass() -> None:
    check_row(ROW)
    check_batch(BATCH)
    check_sample(SAMPLE)
    check_plan(PLAN, [3, 4, 2])
    check_plan(replace(WRAPPED, pieces=pieces((1, 3, 4), (1, 0, 3), (2, 0, 2), (0, 0, 3))), [3, 4, 2])
    check_rendered(RENDERED)
    assert PLAN.row(0).tolist() == [1, 0]
    assert PLAN.efficiency == 9 / 16


BROKEN_ROWS = {
    "labels are missing": ({"labels": ints(NO, 8)}, "5 input_ids but 2 labels"),
    "a label is another token": ({"labels": ints(NO, 8, 8, NO, 6)}, "neither its id 9"),
    "a first token is trained": ({"labels": ints(NO, 8, 9, 5, 6)}, "the sample at 3 has a label"),
    "no boundary": ({"cu_seqlens": ints(0)}, "names no sample"),
    "boundaries begin late": ({"cu_seqlens": ints(1, 3, 5)}, "begins at 1"),
    "boundaries end early": ({"cu_seqlens": ints(0, 3, 4)}, "ends at 4"),
    "an empty sample": ({"cu_seqlens": ints(0, 3, 3, 5)}, "does not rise"),
    "a sample index is missing": ({"samples": ints(0)}, "one sample index per segment"),
}


@pytest.mark.parametrize("name", BROKEN_ROWS)
def test_a_broken_row_is_named(name: str) -> None:
    change, message = BROKEN_ROWS[name]
    with pytest.raises(ContractError, match=message):
        check_row(replace(ROW, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_ids": Rows(0, 1, 2, 3, 4)}, "do not restart"),
        ({"max_seqlen": 5}, "max_seqlen 5, longest sample 3"),
        ({"labels": Rows(7, 8, 9, NO, 6)}, "the sample at 0 has a label"),
    ],
)
def test_a_broken_batch_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_batch(replace(BATCH, **change))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (replace(PLAN, samples=ints(1, 1, 2)), "missing or stands twice"),
        (replace(PLAN, sequence_len=6), "row 0 holds 7 tokens of 6"),
        (replace(PLAN, row_offsets=ints(0, 0, 3)), "row 0 holds 0 tokens"),
        (replace(PLAN, row_offsets=ints(0, 2)), "row_offsets go from 0 to 2"),
        (replace(PLAN, pieces=pieces((0, 0, 3), (1, 0, 4), (2, 0, 2))), "samples and pieces of the plan differ"),
        (replace(PLAN, pieces=pieces((1, 0, 4), (0, 0, 2), (2, 0, 2))), "2 of 3 tokens of sample 0 stand in rows"),
        (
            replace(PLAN, pieces=pieces((1, 0, 4), (0, 1, 3), (2, 0, 2))),
            "1 to 3 of sample 0 follow on its first 0",
        ),
        (replace(WRAPPED, pieces=pieces((1, 0, 4), (1, 3, 4), (2, 0, 2), (0, 0, 3))), "tokens 3 to 4 of sample 1"),
    ],
)
def test_a_broken_plan_is_named(plan: PackPlan, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_plan(plan, [3, 4, 2])


def test_a_sample_without_training_is_named() -> None:
    with pytest.raises(ContractError, match="nothing to train"):
        check_sample(replace(SAMPLE, labels=ints(7, NO)))


@pytest.mark.parametrize("span", [Span(1, 3, 0, "content", 0), Span(3, 9, 0, "x", 0), Span(3, 4, 2, "x", 0)])
def test_a_span_out_of_place_is_named(span: Span) -> None:
    with pytest.raises(ContractError, match="span"):
        check_rendered(replace(RENDERED, spans=(RENDERED.spans[0], span)))


def test_an_account_that_loses_rows_is_refused() -> None:
    SplitCounts(rows_in=3, rows_out=1, dropped={"not_json": 2}).check()
    with pytest.raises(ContractError, match="do not add up"):
        SplitCounts(rows_in=3, rows_out=1, dropped={"not_json": 1}).check()


def test_a_message_keeps_unknown_keys_and_leaves_absent_ones_out() -> None:
    message = Message.model_validate({"role": "tool", "tool_call_id": "7"})
    assert message.for_template() == {"role": "tool", "tool_call_id": "7"}
    assert Message(role="user", content=None).for_template() == {"role": "user", "content": None}


COUNTS = SplitCounts(rows_in=3, rows_out=2, dropped={"x": 1}, tokens=9, trained_tokens=4, longest=5)
MANIFEST = Manifest(fingerprint="f", versions={}, stop_tokens=(), splits={"train": COUNTS})


def test_examples_and_manifests_that_keep_their_contract_pass() -> None:
    check_example(Conversation(messages=(Message(role="user", content=""),)))
    check_example(Segments(segments=(Segment(text="", train=True, role="assistant", field="text"),)))
    check_example(Tokens((1, 2), (NO, 2)))
    check_example(Tokens((1, 2), (NO, 2), (0.0, 0.5)))
    check_manifest(MANIFEST)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Conversation(messages=()), "a conversation without messages"),
        (Segments(segments=()), "an example without segments"),
        (Tokens((), ()), "an example without tokens"),
        (Tokens((1, 2), (NO,)), "tokens: 2 input_ids but 1 labels"),
        (Tokens((1, 2), (NO, 3)), "tokens: label 3 at token 1 is neither its id 2"),
        (Tokens((1, 2), (NO, 2), (0.5,)), "tokens: 2 labels but 1 weights"),
        (Tokens((1, 2), (NO, 2), (0.5, 0.5)), "tokens: weight 0.5 at token 0, whose label is -100"),
        (Tokens((1, 2), (NO, 2), (0.0, 0.0)), "tokens: weight 0.0 at token 1, whose label is 2"),
        (Segments(segments=(Segment(text="a", train=True, role="x", field=""),)), "segment 0 does not say"),
    ],
)
def test_a_broken_example_is_named(example: Example, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_example(example)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows_in": 4}, "do not add up"),
        ({"rows_out": 4, "dropped": {"x": -1}}, "train: a count is -1"),
        ({"tokens": -9}, "train: a count is -9"),
        ({"trained_tokens": 10}, "train: 10 trained and 5 in the longest sample, of 9 tokens"),
        ({"longest": 10}, "train: 4 trained and 10 in the longest sample, of 9 tokens"),
        ({"cut_rows": 3, "cut_tokens": 5}, "train: 3 rows cut by 5 tokens, of 2 rows"),
        ({"cut_rows": 1}, "train: 1 rows cut by 0 tokens"),
    ],
)
def test_a_broken_count_is_named_with_its_split(change: dict[str, Any], message: str) -> None:
    broken = MANIFEST.model_copy(update={"splits": {"train": COUNTS.model_copy(update=change)}})
    with pytest.raises(ContractError, match=message):
        check_manifest(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"records_version": 0}, "records of version 0"),
        ({"fingerprint": ""}, "no fingerprint"),
        ({"splits": {"eval": COUNTS}}, r"no train split among \['eval'\]"),
    ],
)
def test_a_broken_manifest_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_manifest(MANIFEST.model_copy(update=change))
