"""The trained regions of a rendered conversation, from the spans of its messages."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from sft_data.encoding import Encoded
from sft_data.mask.choice import chosen_parts, parts_by_message, whole_text
from sft_data.mask.markers import TurnMarkers, shared_prefix
from sft_data.mask.policy import MaskPolicy
from sft_data.mask.spans import SpanIndex
from sft_data.row import RowError
from sft_schema.record import Conversation, Region, Rendered, Span


class Turn(NamedTuple):
    """Where one message stands: characters of its fields, and of the neighbours' nearest fields."""

    message: int
    first: int
    """First character of its fields, the role left out; None of them printed: the end of the header."""
    last: int
    """One past the last character of its fields."""
    after: int
    """First character of any later message, or the end of the text."""


class _Stop(NamedTuple):
    region: Region
    trained: bool
    is_eos: bool


def turn_regions(
    conversation: Conversation, rendered: Rendered, encoded: Encoded, markers: TurnMarkers, policy: MaskPolicy
) -> tuple[Region, ...]:
    """What the model has to write itself, turn by turn, in order.

    Some templates join messages of one role that follow one another into one turn; the turn then goes on through
    the text between them.

    Args:
        conversation: the messages, with what the row says about their training.
        rendered: text with spans.
        encoded: its tokens.
        markers: the template's generation prompt and stop tokens.
        policy: which turns and stop tokens are trained.

    Raises:
        RowError: a turn cannot be delimited for sure: `untraceable`, `interleaved`, `no_header` or
            `no_end_of_turn`.
    """
    if policy.train_on_inputs:
        return whole_text(rendered, conversation.weights, policy.untrained_inputs(conversation))
    chosen = policy.trained_messages(conversation)
    index = SpanIndex(rendered.spans)
    parts = parts_by_message(conversation)
    any_stop = "all" in (policy.train_on_eos, policy.train_on_eot)
    regions: list[Region] = []
    stops: list[_Stop] = []
    for message, role in enumerate(rendered.roles):
        trained = message in chosen
        turn = _turn(rendered, index, message, markers, required=trained) if trained or any_stop else None
        if turn is None:
            continue
        stop = _stop(encoded, turn, markers, trained, _weight(conversation, message))
        merged = stop is None and rendered.roles[message + 1 : message + 2] == (role,)
        if trained:
            end = stop.region.start if stop else turn.after if merged else turn.last
            whole = Region(turn.first, end, message, "turn", _weight(conversation, message))
            regions.extend(chosen_parts(parts.get(message, []), rendered.generations, index, whole, policy))
        if stop is not None:
            stops.append(stop)
        elif trained and not merged and policy.train_on_eos != "none":
            raise RowError("no_end_of_turn", f"no stop token after message {message} ({role})")
    kept = _kept(stops, policy)
    return tuple(sorted([*regions, *kept], key=lambda region: region.start))


def _kept(stops: list[_Stop], policy: MaskPolicy) -> list[Region]:
    """The stop tokens that are trained, each by the setting of its kind."""
    kept: list[Region] = []
    for is_eos, rule in ((True, policy.train_on_eos), (False, policy.train_on_eot)):
        own = [stop for stop in stops if stop.is_eos == is_eos]
        trained = [stop for stop in own if stop.trained]
        chosen = {"none": [], "last": trained[-1:], "turn": trained, "all": own}[rule]
        kept.extend(stop.region for stop in chosen)
    return kept


def _turn(rendered: Rendered, index: SpanIndex, message: int, markers: TurnMarkers, *, required: bool) -> Turn | None:
    own, role = index.of(message), rendered.roles[message]
    if not own:
        return _unprinted(rendered, message, role, markers) if required else None
    fields = [span for span in own if span.field != "role"]
    start, end = own[0].start, own[-1].end
    first = fields[0].start if fields else end
    if role == "assistant" and required:
        first = _start(rendered, index.end_before(start, message), fields, markers, message)
    last = max(first, end)
    after = index.start_after(last, message, len(rendered.text))
    between = index.other_between(first, last, message)
    if between is not None and required:
        detail = f"text of message {between} stands inside message {message}: its turn cannot be delimited"
        raise RowError("interleaved", detail)
    return Turn(message, first, last, after)


def _unprinted(rendered: Rendered, message: int, role: str, markers: TurnMarkers) -> Turn:
    """A turn without any field, such as an empty one: where its header is the only one between its neighbours."""
    before = max((span.end for span in rendered.spans if span.message < message), default=0)
    later = (span.start for span in rendered.spans if span.message > message)
    after = min(later, default=len(rendered.text))
    if role == "assistant" and markers.header and rendered.text.count(markers.header, before, after) == 1:
        first = _start(rendered, before, [], markers, message)
        if first <= after:
            return Turn(message, first, first, after)
    raise RowError("untraceable", f"the template printed nothing of message {message} ({role})")


def _start(rendered: Rendered, before: int, fields: list[Span], markers: TurnMarkers, message: int) -> int:
    """Where an assistant's turn begins: all that follows the generation prompt is the model's to write."""
    text, limit = rendered.text, fields[0].start if fields else len(rendered.text)
    if markers.header:
        found = text.rfind(markers.header, before, limit) if fields else text.find(markers.header, before)
        if found >= 0 and found + len(markers.prompt) <= limit and text.startswith(markers.prompt, found):
            return found + len(markers.prompt)
        if found >= 0:
            return found + shared_prefix(markers.prompt, text[found:limit])
        raise RowError("no_header", f"{markers.header!r} does not stand before message {message}")
    closed = [at + len(each) for each in markers.closers if (at := text.rfind(each, before, limit)) >= 0]
    joined = message > 0 and rendered.roles[message - 1] == "assistant"
    if fields and (closed or joined or before == 0):
        return max(closed) if closed else fields[0].start
    detail = f"none of {list(markers.closers)} stands before message {message}"
    raise RowError("no_header", detail)


def _weight(conversation: Conversation, message: int) -> float:
    return conversation.weights[message] if conversation.weights else 1.0


def _stop(encoded: Encoded, turn: Turn, markers: TurnMarkers, trained: bool, weight: float) -> _Stop | None:
    """The first stop token after the turn's text and before the next message."""
    starts, ids = encoded.starts.data, encoded.ids.data
    for index in range(bisect_left(starts, turn.last), bisect_left(starts, turn.after)):
        token = ids[index]
        if token in markers.stop_ids:
            region = Region(starts[index], encoded.ends.data[index], turn.message, "end_of_turn", weight)
            return _Stop(region, trained, token in markers.eos_ids)
    return None
