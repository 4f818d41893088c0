"""check_format accepts a careful format and names what a careless one does."""

from typing import Any

import pytest

from sft_schema import ContractError
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, Message, Segment, Segments
from sft_schema.testing import check_format

GOOD = [{"question": "2+2?", "answer": "4", "tags": ["sum", {"level": 1}]}]


class Refusal(Exception):  # noqa: N818 - named after what it says
    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(detail)


def careful(row: Any, cfg: DatasetConfig) -> Conversation:
    question, answer = row.values.get("question"), row.values.get("answer")
    if not isinstance(question, str) or not isinstance(answer, str):
        raise Refusal("wrong_type", f"{question!r} and {answer!r} are not two texts")
    pair = Message(role="user", content=question), Message(role="assistant", content=answer)
    return Conversation(messages=pair)


def test_a_careful_format_passes_with_every_row_damaged_in_every_place() -> None:
    assert check_format(careful, GOOD) > 80
    assert check_format(careful, GOOD * 2) == 2 * check_format(careful, GOOD)


def crashes(row: Any, cfg: DatasetConfig) -> Conversation:
    return Conversation(messages=(Message(role="user", content=row.values["question"]),))


def empty(row: Any, cfg: DatasetConfig) -> Conversation:
    return Conversation(messages=())


def no_segments(row: Any, cfg: DatasetConfig) -> Segments:
    return Segments(segments=())


def something_else(row: Any, cfg: DatasetConfig) -> Any:
    return {"messages": []}


def writes(row: Any, cfg: DatasetConfig) -> Conversation:
    row.values.pop("tags", None)
    return careful(row, cfg)


def refuses_all(row: Any, cfg: DatasetConfig) -> Conversation:
    raise Refusal("no_reason", "whatever it is")


def long_reason(row: Any, cfg: DatasetConfig) -> Conversation:
    if "question" not in row.values:
        raise Refusal("There is no question", "none")
    return careful(row, cfg)


def no_detail(row: Any, cfg: DatasetConfig) -> Conversation:
    if "question" not in row.values:
        raise Refusal("no_question", " ")
    return careful(row, cfg)


class Counts:
    """A format with a memory."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, row: Any, cfg: DatasetConfig) -> Segments:
        self.seen += 1
        return Segments(segments=(Segment(text=f"{self.seen}", train=True, role="assistant", field="x"),))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (crashes, r"(KeyError|ValidationError) instead of a refusal with `reason` and `detail`, for "),
        (empty, "a conversation without messages"),
        (no_segments, "an example without segments"),
        (something_else, "dict is no Conversation, Segments or Tokens"),
        (writes, "the format wrote into its row"),
        (refuses_all, "a row that the format is made for is refused"),
        (long_reason, "'There is no question' is not a short name"),
        (no_detail, "'no_question' has no detail"),
        (Counts(), "two calls with one row give two examples"),
    ],
)
def test_a_careless_format_is_named(form: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_format(form, GOOD)


def test_nothing_to_check_is_no_success() -> None:
    with pytest.raises(ContractError, match="at least one row"):
        check_format(careful, [])
