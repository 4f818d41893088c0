"""What becomes of a sample that is longer than a row: `excess_length_strategy`.

A sample of 9 tokens and rows of 4:

    truncate           a a a a                              the beginning alone
    split              a a a a | b b b b | c                every token, in samples of their own
    truncate_history   system, the last exchanges           rendered and masked anew, so that it is a whole conversation
    drop, raise        nothing

Pieces without a trained token are left out; their tokens count as cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sft_data.pipeline import Masked, Pipeline
from sft_data.row import Row, RowError
from sft_schema import IGNORE_INDEX
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, Example, TokenizedSample

STRATEGIES = ("drop", "truncate", "truncate_history", "split")
"""What a sample that is too long can become, besides an error."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some tokens of a masked row.

    Attributes:
        row: the row; its place names the tokens when they are a piece of several.
        masked: what was found out about the whole text that the tokens are of.
        start: first token.
        stop: one past the last.
    """

    row: Row
    masked: Masked
    start: int
    stop: int

    def of(self, sample: TokenizedSample) -> TokenizedSample:
        """This piece of the sample that was made of `masked`."""
        window = slice(self.start, self.stop)
        tokens, labels = sample.input_ids[window], sample.labels[window]
        weights = None if sample.weights is None else sample.weights[window]
        return TokenizedSample(tokens, labels, self.row.origin, weights, sample.pictured)

    @classmethod
    def whole(cls, row: Row, masked: Masked) -> Piece:
        """All tokens of a row."""
        return cls(row, masked, 0, len(masked.encoded.ids))

    @property
    def trains(self) -> bool:
        """Whether a token is trained; the first one of a sample never is."""
        return bool((self.masked.labels[self.start + 1 : self.stop] != IGNORE_INDEX).any())


def fit(whole: Piece, example: Example, dataset: DatasetConfig, pipeline: Pipeline, strategy: str) -> list[Piece]:
    """The pieces of at most `sequence_len` tokens that a row becomes, without those that train nothing.

    Args:
        whole: all tokens of the row.
        example: what it was rendered from.
        dataset: its data set.
        pipeline: renders and masks a shorter conversation.
        strategy: one of `STRATEGIES`, or `raise`, which keeps nothing.
    """
    limit = pipeline.sequence_len
    if whole.stop <= limit:
        return [whole]
    pieces: list[Piece] = []
    if whole.masked.rendered.pictured is not None:
        return pieces  # a piece would hold half a picture
    if strategy == "truncate":
        pieces = [replace(whole, stop=limit)]
    elif strategy == "split":
        starts = range(0, whole.stop, limit)
        pieces = [_named(replace(whole, start=start, stop=min(start + limit, whole.stop))) for start in starts]
    elif strategy == "truncate_history" and isinstance(example, Conversation):
        masked = _without_history(example, dataset, pipeline)
        pieces = [] if masked is None else [Piece(whole.row, masked, 0, len(masked.encoded.ids))]
    return [piece for piece in pieces if piece.trains]


def _named(piece: Piece) -> Piece:
    origin = piece.row.origin
    place = f"{origin.place} tokens {piece.start}-{piece.stop - 1}"  # as `whole_place` knows it
    return replace(piece, row=replace(piece.row, origin=replace(origin, place=place)))


def price(whole: Piece, example: Example, dataset: DatasetConfig, pipeline: Pipeline) -> dict[str, tuple[int, int]]:
    """What each strategy would lose of a row that is too long: rows (0 or 1) and tokens, by strategy."""
    lost: dict[str, tuple[int, int]] = {}
    for strategy in STRATEGIES:
        try:
            pieces = fit(whole, example, dataset, pipeline, strategy)
        except RowError:
            pieces = []
        kept = sum(piece.stop - piece.start for piece in pieces)
        lost[strategy] = (0 if pieces else 1, whole.stop - kept)
    return lost


def price_text(rows: Mapping[str, int], tokens: Mapping[str, int]) -> str:
    """What each strategy would lose of all rows that are too long, as words."""
    parts = [f"`{strategy}` loses {rows[strategy]} rows and {tokens[strategy]} tokens" for strategy in STRATEGIES]
    return f"`excess_length_strategy`: {', '.join(parts)}"


def _without_history(conversation: Conversation, dataset: DatasetConfig, pipeline: Pipeline) -> Masked | None:
    """The conversation without its oldest exchanges, as many as must go; None when the last one alone is too long.

    The number is found by halving, since each exchange that stays makes the text longer.
    """
    head, starts = _exchanges(conversation)
    fewest, most = 1, len(starts)  # exchanges that are left out; the last one stays
    found: Masked | None = None
    while fewest < most:
        middle = (fewest + most) // 2
        shorter = _left(conversation, head, starts[middle])
        masked = _masked(shorter, dataset, pipeline)
        if masked is not None and len(masked.encoded.ids) <= pipeline.sequence_len:
            found, most = masked, middle
        else:
            fewest = middle + 1
    return found


def _masked(shorter: Conversation, dataset: DatasetConfig, pipeline: Pipeline) -> Masked | None:
    """The shorter conversation, or None when it cannot be used, as when the template refuses how it begins."""
    try:
        return pipeline.masked(shorter, pipeline.chat(dataset).render(shorter), dataset)
    except RowError:
        return None


def _exchanges(conversation: Conversation) -> tuple[int, list[int]]:
    """Messages before the first exchange (what the system says), and where each exchange begins: with a user."""
    roles = [message.role for message in conversation.messages]
    head = next((index for index, role in enumerate(roles) if role not in ("system", "developer")), len(roles))
    starts = [index for index in range(head, len(roles)) if roles[index] == "user"]
    return head, starts if starts[:1] == [head] else [head, *starts]


def _left(conversation: Conversation, head: int, start: int) -> Conversation:
    kept = [*range(head), *range(start, len(conversation.messages))]
    place = {old: new for new, old in enumerate(kept)}
    return conversation.model_copy(
        update={
            "messages": tuple(conversation.messages[index] for index in kept),
            "trained": tuple(conversation.trained[index] for index in kept) if conversation.trained else (),
            "weights": tuple(conversation.weights[index] for index in kept) if conversation.weights else (),
            "parts": tuple(
                part.model_copy(update={"message": place[part.message]})
                for part in conversation.parts
                if part.message in place
            ),
        }
    )
