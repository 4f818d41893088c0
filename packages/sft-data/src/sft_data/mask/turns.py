"""The trained regions of a rendered conversation, from the spans of its messages."""

from __future__ import annotations

from dataclasses import dataclass

from sft_data.encoding import Encoded
from sft_data.mask.markers import TurnMarkers, shared_prefix
from sft_data.mask.policy import MaskPolicy
from sft_data.row import RowError
from sft_schema.record import Region, Rendered, Span


@dataclass(frozen=True, slots=True)
class _Turn:
    """Where one message stands: characters of its fields, and of the neighbours' nearest fields."""

    message: int
    first: int
    """First character of its fields, the role left out; None of them printed: the end of the header."""
    last: int
    """One past the last character of its fields."""
    before: int
    """One past the last character of any earlier message."""
    after: int
    """First character of any later message, or the end of the text."""


def turn_regions(rendered: Rendered, encoded: Encoded, markers: TurnMarkers, policy: MaskPolicy) -> tuple[Region, ...]:
    """What the model has to write itself, turn by turn, in order.

    Some templates join messages of one role that follow one another into one turn; the turn then goes on through
    the text between them.

    Args:
        rendered: text with spans.
        encoded: its tokens.
        markers: the template's generation prompt and stop tokens.
        policy: which turns and stop tokens are trained.

    Raises:
        RowError: a turn cannot be delimited for sure: `untraceable`, `interleaved`, `no_header` or
            `no_end_of_turn`.
    """
    if policy.train_on_inputs:
        return (Region(0, len(rendered.text), 0, "input"),)
    regions: list[Region] = []
    stops: list[Region] = []
    for message, role in enumerate(rendered.roles):
        trained = role in policy.roles_to_train
        if not trained and policy.train_on_eos != "all":
            continue
        turn = _turn(rendered, message, role, markers, required=trained)
        if turn is None:
            continue
        stop = _stop(encoded, turn, markers, message)
        merged = stop is None and rendered.roles[message + 1 : message + 2] == (role,)
        if trained:
            end = stop.start if stop else turn.after if merged else turn.last
            regions.append(Region(turn.first, end, message, "turn"))
        if stop is not None:
            stops.append(stop)
        elif trained and not merged and policy.train_on_eos != "none":
            raise RowError("no_end_of_turn", f"no stop token after message {message} ({role})")
    kept = {"none": [], "last": stops[-1:]}.get(policy.train_on_eos, stops)  # "turn" and "all" keep every one
    return tuple(sorted([*regions, *kept], key=lambda region: region.start))


def _turn(rendered: Rendered, message: int, role: str, markers: TurnMarkers, *, required: bool) -> _Turn | None:
    own = [span for span in rendered.spans if span.message == message]
    fields = [span for span in own if span.field != "role"]
    if not own:
        if required:
            raise RowError("untraceable", f"the template printed nothing of message {message} ({role})")
        return None
    start, end = own[0].start, max(span.end for span in own)
    others = [span for span in rendered.spans if span.message != message]
    before = max((span.end for span in others if span.end <= start), default=0)
    first = fields[0].start if fields else end
    if role == "assistant" and required:
        first = _start(rendered, before, fields, markers, message)
    last = max(first, end)
    after = min((span.start for span in others if span.start >= last), default=len(rendered.text))
    between = _between(others, first, last)
    if between is not None and required:
        detail = f"text of message {between} stands inside message {message}: its turn cannot be delimited"
        raise RowError("interleaved", detail)
    return _Turn(message, first, last, before, after)


def _between(others: list[Span], first: int, last: int) -> int | None:
    return next((span.message for span in others if span.start < last and span.end > first), None)


def _start(rendered: Rendered, before: int, fields: list[Span], markers: TurnMarkers, message: int) -> int:
    """Where an assistant's turn begins: all that follows the generation prompt is the model's to write."""
    text, limit = rendered.text, fields[0].start if fields else len(rendered.text)
    if markers.header:
        found = text.rfind(markers.header, before, limit) if fields else text.find(markers.header, before)
        if found >= 0:
            return found + shared_prefix(markers.prompt, text[found:limit])
        raise RowError("no_header", f"{markers.header!r} does not stand before message {message}")
    closer = next((each for each in markers.closers if text.startswith(each, before)), "")
    joined = message > 0 and rendered.roles[message - 1] == "assistant"
    if fields and (closer or joined or before == 0):
        return before + len(closer) if closer else fields[0].start
    detail = f"none of {list(markers.closers)} stands before message {message}"
    raise RowError("no_header", detail)


def _stop(encoded: Encoded, turn: _Turn, markers: TurnMarkers, message: int) -> Region | None:
    """The first stop token after the turn's text and before the next message."""
    for index in range(*encoded.overlapping(turn.last, turn.after).indices(len(encoded.ids))):
        start, end = int(encoded.starts[index]), int(encoded.ends[index])
        if start >= turn.last and int(encoded.ids[index]) in markers.stop_ids:
            return Region(start, end, message, "end_of_turn")
    return None
