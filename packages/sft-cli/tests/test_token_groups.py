from __future__ import annotations

from itertools import chain

from sft_cli.token_groups import group_tokens
from sft_data import InspectedRow
from sft_schema.record import InspectedToken, RowOrigin

ORIGIN = RowOrigin("d", 0, "d:1")


def token(text: str, message: int | None = None, *, trained: bool = False, sample: int = 0) -> InspectedToken:
    role = None if message is None else ("user", "assistant")[message % 2]
    field = "template" if message is None else "content"
    return InspectedToken(1, text, trained, message, role, field, sample, float(trained), "turn")


def texts(tokens: list[InspectedToken]) -> list[tuple[str, str]]:
    (sample,) = group_tokens(tokens, [ORIGIN])
    return [(message.label, "".join(each.text for each in message.tokens)) for message in sample.messages]


def test_no_token_is_lost_or_moved(row: InspectedRow) -> None:
    samples = group_tokens(row.tokens, row.origins)
    joined = tuple(chain.from_iterable(message.tokens for sample in samples for message in sample.messages))
    assert joined == row.tokens
    assert [sample.origin for sample in samples] == list(row.origins)
    assert sum(sample.trained for sample in samples) == sum(each.trained for each in row.tokens)
    assert sum(sample.tokens for sample in samples) == len(row.tokens)


def test_every_message_has_its_label(row: InspectedRow) -> None:
    labels = [[message.label for message in sample.messages] for sample in group_tokens(row.tokens, row.origins)]
    assert labels == [["0 system", "1 user", "2 assistant"], ["0 user", "1 assistant"]]


def test_template_text_to_the_end_of_the_line_stays_with_the_message_before() -> None:
    tokens = [token("<s>"), token("Hi", 0), token("</s>"), token("\n"), token("<s>"), token("Yo", 1), token("</s>")]
    assert texts(tokens) == [("0 user", "<s>Hi</s>\n"), ("1 assistant", "<s>Yo</s>")]


def test_template_text_on_one_line_goes_with_the_message_after_it() -> None:
    tokens = [token("Hi", 0), token("<a>"), token("<b>"), token("Yo", 1)]
    assert texts(tokens) == [("0 user", "Hi"), ("1 assistant", "<a><b>Yo")]


def test_messages_without_template_text_between_them() -> None:
    assert texts([token("Hi", 0), token("Yo", 1)]) == [("0 user", "Hi"), ("1 assistant", "Yo")]


def test_a_message_that_the_template_splits_comes_twice() -> None:
    tokens = [token("a", 0), token("b", 1), token("c", 0)]
    assert [label for label, _ in texts(tokens)] == ["0 user", "1 assistant", "0 user"]


def test_a_sample_of_template_text_alone() -> None:
    assert texts([token("<s>"), token("\n")]) == [("template", "<s>\n")]


def test_the_first_tokens_of_a_row_can_be_grouped_alone(row: InspectedRow) -> None:
    (sample,) = group_tokens(row.tokens[:4], row.origins)
    assert sample.tokens == 4
