r"""A second way to find assistant turns, which shares nothing with the first: what a render grows by.

    P  render(messages before, generation prompt)      ...Hi<|im_end|>\n<|im_start|>assistant\n
    F  render(messages before, the turn)               ...Hi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n
    N  render(messages before, the turn, a next one)   ...the same, then <|im_start|>user...

The turn is what F has beyond P, as far as N has it too, through the last stop token. It needs renders for each turn
and says nothing about a turn that the whole render shows differently (a template that rewrites history), so it is no
way to make masks; but where it speaks, it must say what the spans say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sft_data.mask.markers import EncodeProbe, RenderProbe, shared_prefix
from sft_data.row import RowError
from sft_schema.record import Conversation, Message, Region, Rendered

_TURNS_CHECKED = 4
"""At each end of a conversation: a row of 200 turns would need 400 renders."""


@dataclass(slots=True)
class Increments:
    """What the second method says about a conversation.

    Attributes:
        turns: message -> its first character (None: unknown) and one past its stop token, in the whole render.
        rewritten: messages that the whole render shows otherwise than the render that ends with them.
    """

    turns: dict[int, tuple[int | None, int]] = field(default_factory=dict[int, tuple[int | None, int]])
    rewritten: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True)
class Probe:
    """How a template renders and a tokenizer encodes.

    Attributes:
        render: renders a conversation, with or without the generation prompt.
        encode: encodes a text.
        stops: texts of the stop tokens.
    """

    render: RenderProbe
    encode: EncodeProbe
    stops: tuple[str, ...]


def find_increments(probe: Probe, conversation: Conversation, messages: Iterable[int]) -> Increments:
    """The turns of some assistant messages of a conversation."""
    found = Increments()
    whole = probe.render(conversation, False).text
    for message in messages:
        turn = _increment(probe, conversation, message) if message else None
        if turn is None:
            continue
        start, text = turn
        if whole.startswith(text):
            found.turns[message] = (start, len(text))
        else:
            found.rewritten.append(message)
    return found


def _increment(probe: Probe, conversation: Conversation, message: int) -> tuple[int | None, str] | None:
    """Where a turn starts, and the text from the conversation's beginning through its stop token.

    The start is None where the turn does not begin with the whole generation prompt.
    """
    try:
        plain = probe.render(_upto(conversation, message), False).text
        before = probe.render(_upto(conversation, message), True).text
        grown = probe.render(_upto(conversation, message + 1), False).text
    except RowError:
        return None  # the template does not take this part of the conversation alone
    start = _shared(probe, before, grown)
    if start < _shared(probe, plain, before):
        return None  # the question itself looks different once it is answered
    following = _with_next(probe.render, conversation, message)
    shared = "" if following is None or following == grown else grown[: shared_prefix(grown, following)]
    ends = [at + len(stop) for stop in probe.stops if (at := shared.rfind(stop, start)) >= 0]
    end = max(ends) if ends else _closing_stop(probe, grown, start)
    if end is None:
        return None
    return start if grown.startswith(before) else None, grown[:end]


def _closing_stop(probe: Probe, grown: str, start: int) -> int | None:
    """One past the first of the different stop tokens that the text ends with, where a next message tells nothing."""
    rest, closing = grown.rstrip(), list[str]()
    while (last := next((stop for stop in probe.stops if rest.endswith(stop)), None)) and len(rest) > start:
        closing.append(last)
        rest = rest[: -len(last)].rstrip()
    if not closing or len(set(closing)) < len(closing):
        return None
    return grown.index(closing[-1], len(rest)) + len(closing[-1])


def _shared(probe: Probe, text: str, longer: str) -> int:
    """Characters that both begin with, in whole tokens: `<|turn>` and `<think>` share none."""
    if longer.startswith(text):
        return len(text)
    ours, theirs = probe.encode(text), probe.encode(longer)
    count = shared_prefix(ours.ids.tolist(), theirs.ids.tolist())
    return int(ours.ends[count - 1]) if count else 0


def _with_next(render: RenderProbe, conversation: Conversation, message: int) -> str | None:
    """The render with one message more: the next one, or a question where there is none."""
    if message + 1 < len(conversation.messages):
        longer = _upto(conversation, message + 2)
    else:
        question = Message(role="user", content="And then?")
        longer = conversation.model_copy(update={"messages": (*conversation.messages, question)})
    try:
        return render(longer, False).text
    except RowError:
        return None


def _upto(conversation: Conversation, count: int) -> Conversation:
    return conversation.model_copy(update={"messages": conversation.messages[:count]})


def find_disagreement(
    probe: Probe, conversation: Conversation, rendered: Rendered, regions: Sequence[Region]
) -> str | None:
    """Compares assistant turns found from spans with what renders grow by; None when they agree.

    Args:
        probe: the template and the tokenizer.
        conversation: the conversation.
        rendered: its render with spans.
        regions: its whole assistant turns with their stop tokens.
    """
    turns: dict[int, tuple[int, int]] = {}
    for region in regions:
        start, end = turns.get(region.message, (region.start, region.end))
        turns[region.message] = (min(start, region.start), max(end, region.end))
    chosen = sorted(turns)
    if len(chosen) > 2 * _TURNS_CHECKED:
        chosen = [*chosen[:_TURNS_CHECKED], *chosen[-_TURNS_CHECKED:]]
    for message, (start, end) in find_increments(probe, conversation, chosen).turns.items():
        first, last = turns[message]
        # some stop tokens swallow the white space after them
        stopped = first + len(rendered.text[first:last].rstrip())
        if start not in (None, first) or end != stopped:
            ours, theirs = rendered.text[first:last], rendered.text[first if start is None else start : end]
            return f"message {message}: {ours!r} from its fields, {theirs!r} from what renders grow by"
    return None
