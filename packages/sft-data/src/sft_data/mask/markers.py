r"""What a chat template puts before and after an assistant's turn, found out by asking it once.

    <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nHello<|im_end|>\n
                                    ~~~~~~~~~~~~~~~~~~~~~~~                       ^^^^^^^^^^
                                    prompt: given to the model                    stop token
                                    when it generates

The trained region of a turn is what the model has to write itself: everything after the prompt through the stop
token. Here that includes the empty think block, which the template adds and the model must produce.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from sft_data.encoding import Encoded
from sft_data.row import RowError
from sft_schema.record import Conversation, Message, Rendered

RenderProbe = Callable[[Conversation, bool], Rendered]
EncodeProbe = Callable[[str], Encoded]

PLAIN_CHAT = Conversation(
    messages=(
        Message(role="user", content="first question"),
        Message(role="assistant", content="first answer"),
        Message(role="user", content="second question"),
        Message(role="assistant", content="second answer"),
    )
)

_CALL = {"id": "probe0001", "type": "function", "function": {"name": "probe", "arguments": {"a": "b"}}}
_TOOL_PROBE = Conversation.model_validate(
    {
        "messages": [
            {"role": "user", "content": "question"},
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            {"role": "tool", "content": "result", "tool_call_id": "probe0001", "name": "probe"},
        ]
    }
)


@dataclass(frozen=True, slots=True)
class TurnMarkers:
    """The template's texts around an assistant's turn.

    Attributes:
        prompt: the generation prompt, empty when the template has none (the turn then begins at its content).
        header: the part of `prompt` that stands before every assistant turn; the rest, such as `<think>`, may be
            missing before older turns.
        closers: for a template without a generation prompt, the texts after which an assistant's turn begins,
            such as `[/INST]`; longest first.
        stop_ids: ids of the tokens that end a turn.
        eos_ids: those of them that end a text whatever the template does.
    """

    prompt: str
    header: str
    closers: tuple[str, ...]
    stop_ids: tuple[int, ...]
    eos_ids: tuple[int, ...] = ()


def find_markers(
    render: RenderProbe,
    encode: EncodeProbe,
    special_ids: frozenset[int],
    eos_ids: tuple[int, ...],
    eot_ids: tuple[int, ...] = (),
) -> TurnMarkers:
    """Markers of a template, from renders of a probe conversation.

    Args:
        render: renders a conversation, with or without the generation prompt.
        encode: encodes a text.
        special_ids: ids that the tokenizer marks as special.
        eos_ids: ids that end a text whatever the template does; they come last in `stop_ids`.
        eot_ids: further ids that end a turn.

    Raises:
        RowError: the template refuses the probe.
    """
    question = Conversation(messages=PLAIN_CHAT.messages[:1])
    prompt = _added_text(render(question, False).text, render(question, True).text, encode)
    whole = render(PLAIN_CHAT, False)
    stops: list[int] = []
    header = prompt
    for answer in (1, 3):
        before, after = _around(whole, answer)
        header = _longest_prefix_inside(header, before)
        stop = _first_stop(encode(after).ids.tolist(), special_ids, eos_ids)
        if stop is not None and stop not in stops:
            stops.append(stop)
    closers = () if header else _closers(render)
    stops.extend(each for each in (*eot_ids, *eos_ids) if each not in stops)
    return TurnMarkers(prompt, header, closers, tuple(dict.fromkeys(stops)), eos_ids)


def _first_stop(ids: list[int], special_ids: frozenset[int], eos_ids: tuple[int, ...]) -> int | None:
    """What ends a turn: the first special token after it, or the eos token where it follows that one at once.

    Command R closes an answer with `<|END_RESPONSE|><|END_OF_TURN_TOKEN|>`: the model stops after the second one.
    """
    first = next((index for index, each in enumerate(ids) if each in special_ids), None)
    if first is None:
        return None
    run = list(takewhile(special_ids.__contains__, ids[first:]))
    return next((each for each in run if each in eos_ids), run[0])


def _closers(render: RenderProbe) -> tuple[str, ...]:
    """What ends a user's and a tool's message when the assistant is to speak next."""
    found: set[str] = set()
    for conversation in (Conversation(messages=PLAIN_CHAT.messages[:1]), _TOOL_PROBE):
        try:
            rendered = render(conversation, True)
        except RowError:
            continue  # a template without tools
        last = len(conversation.messages) - 1
        ends = [span.end for span in rendered.spans if span.message == last]
        if ends:
            found.add(rendered.text[max(ends) :])
    return tuple(sorted(found - {""}, key=len, reverse=True))


def _added_text(without: str, with_prompt: str, encode: EncodeProbe) -> str:
    """What the generation prompt adds, token-wise: `<|end|><|eos|>` and `<|end|><|assistant|>` share `<|`."""
    ours, theirs = encode(with_prompt), encode(without)
    shared = shared_prefix(ours.ids.tolist(), theirs.ids.tolist())
    return with_prompt[int(ours.starts[shared]) :] if shared < len(ours.ids) else ""


def _around(rendered: Rendered, message: int) -> tuple[str, str]:
    """Template text between the content before a message and its own, and after its own."""
    content = [span for span in rendered.spans if span.field == "content"]
    ends = max(span.end for span in content if span.message == message - 1)
    start = min(span.start for span in content if span.message == message)
    end = max(span.end for span in content if span.message == message)
    following = [span.start for span in content if span.message == message + 1]
    return rendered.text[ends:start], rendered.text[end : following[0] if following else len(rendered.text)]


def _longest_prefix_inside(prompt: str, gap: str) -> str:
    length = len(prompt)
    while length and prompt[:length] not in gap:
        length -= 1
    return prompt[:length]


def shared_prefix(ours: Sequence[object], theirs: Sequence[object]) -> int:
    """How many items two sequences begin with in common."""
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine != other:
            return index
    return min(len(ours), len(theirs))
