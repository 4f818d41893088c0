"""Parts of a turn that are not trained although the turn is: by the row's choice, the template's or a setting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from sft_data.mask.policy import MaskPolicy
from sft_data.mask.spans import SpanIndex
from sft_data.row import RowError
from sft_schema.record import Conversation, Region, Rendered, Span, TrainSpan

_REASONING = ("reasoning_content", "thinking", "reasoning")


def parts_by_message(conversation: Conversation) -> dict[int, list[TrainSpan]]:
    """What the row says about parts of messages, by message."""
    found: defaultdict[int, list[TrainSpan]] = defaultdict(list)
    for part in conversation.parts:
        found[part.message].append(part)
    return found


def chosen_parts(
    parts: Sequence[TrainSpan],
    generations: Sequence[tuple[int, int]],
    index: SpanIndex,
    turn: Region,
    policy: MaskPolicy,
) -> list[Region]:
    """What is trained of one turn, without its stop token.

    The row's own spans come first. Else it is the turn, inside the template's generation blocks when it has any, and
    without the reasoning and the text around it when that is not trained.

    Args:
        parts: of this message.
        generations: characters inside the template's generation blocks.
        index: the spans of the rendered text.
        turn: the message's turn.
        policy: the masking settings.

    Raises:
        RowError: `untraceable` when a part that the row chose is not in the text.
    """
    if parts:
        return [piece for part in parts if part.train for piece in _printed(part, index, turn.weight)]
    pieces = [turn]
    if generations:
        pieces = [
            turn._replace(start=max(turn.start, start), end=min(turn.end, end))
            for start, end in generations
            if max(turn.start, start) < min(turn.end, end)
        ]
    if policy.train_on_reasoning:
        return pieces
    return [piece for each in pieces for piece in _without(each, _reasoning(index, turn))]


def _printed(part: TrainSpan, index: SpanIndex, weight: float) -> list[Region]:
    """The characters of a part in the text; templates may trim a field or print it in pieces."""
    own = [span for span in index.of(part.message) if span.field == part.field]
    if not own:
        raise RowError("untraceable", f"{part.field} of message {part.message} has a trained part, but is not printed")
    pieces: list[Region] = []
    for span in own:
        start = max(part.start, span.offset)
        end = min(part.end, span.offset + span.end - span.start)
        if start < end:
            moved = span.start - span.offset
            pieces.append(Region(start + moved, end + moved, part.message, "part", part.weight * weight))
    return pieces


def _reasoning(index: SpanIndex, turn: Region) -> list[tuple[int, int]]:
    """Reasoning with the template's text on both sides of it, up to the turn's neighbouring fields."""
    inside = [span for span in index.of(turn.message) if turn.start <= span.start < turn.end]
    edges = [Span(turn.start, turn.start, turn.message, "", 0), *inside]
    cuts: list[tuple[int, int]] = []
    for number, (left, span) in enumerate(pairwise(edges)):
        if span.field in _REASONING:
            following = inside[number + 1].start if number + 1 < len(inside) else turn.end
            cuts.append((left.end, following))
    return cuts


def _without(region: Region, cuts: list[tuple[int, int]]) -> list[Region]:
    pieces: list[Region] = []
    position = region.start
    for start, end in [*cuts, (region.end, region.end)]:
        if position < min(start, region.end):
            pieces.append(region._replace(start=position, end=min(start, region.end)))
        position = max(position, end)
    return pieces


def whole_text(rendered: Rendered, weights: Sequence[float], messages: Iterable[int] = ()) -> tuple[Region, ...]:
    """The whole text but the fields of some messages, with `train_on_inputs`; fields with a weight by themselves."""
    left_out = frozenset(messages)
    weighted = [
        Region(span.start, span.end, span.message, "input", weights[span.message])
        for span in rendered.spans
        if weights and weights[span.message] != 1 and span.message not in left_out
    ]
    cuts = [(span.start, span.end) for span in rendered.spans if span.message in left_out]
    cuts = sorted([*cuts, *((region.start, region.end) for region in weighted)])
    rest = _without(Region(0, len(rendered.text), 0, "input"), cuts)
    return tuple(sorted([*rest, *weighted], key=lambda region: region.start))
