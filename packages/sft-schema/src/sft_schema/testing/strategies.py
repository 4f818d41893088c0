"""Hypothesis strategies: texts that break things, messages, conversations, lengths."""

from __future__ import annotations

from collections.abc import Sequence

from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, Message, Segment, Segments

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("sft_schema.testing.strategies needs hypothesis: install sft-schema[testing]") from error

HOSTILE: tuple[str, ...] = (
    "",
    " ",
    "\n\n",
    "\r\n\t",
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "</s>",
    "[INST] [/INST]",
    "[[",
    "{{ 7 * 7 }}{% raw %}",
    "{%- endfor -%}",
    "<script>alert(1)</script>",
    "\x00\x1b[31m\x7f",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "\u200b\ufeff\u2028\u2029",
    "e\u0301\u0327",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\ufdfa" * 8,
    "null",
    "-0",
    "a" * 300,
    "assistant",
    "\\n\\u0041",
)
"""Texts that have broken tokenizers, templates, terminals or masks somewhere."""


def hostile_texts(*, surrogates: bool = False) -> st.SearchStrategy[str]:
    """Texts out of `HOSTILE`, out of all characters, and both mixed.

    Args:
        surrogates: halves of surrogate pairs too, which no encoding can hold.
    """
    excluded = () if surrogates else ("Cs",)
    anything = st.text(st.characters(exclude_categories=excluded), max_size=20)
    piece = st.one_of(st.sampled_from(HOSTILE), anything)
    return st.one_of(piece, st.lists(piece, max_size=4).map("".join))


def messages(roles: Sequence[str] = ("system", "user", "assistant", "tool")) -> st.SearchStrategy[Message]:
    """Messages of any of the roles, with hostile contents."""
    return st.builds(Message, role=st.sampled_from(list(roles)), content=hostile_texts())


@st.composite
def conversations(draw: st.DrawFn, *, max_turns: int = 4) -> Conversation:
    """A system message or none, then user and assistant in turn, the assistant last.

    Args:
        draw: given by hypothesis.
        max_turns: largest number of pairs.
    """
    system = draw(st.lists(messages(("system",)), max_size=1))
    turns = draw(st.integers(1, max_turns))
    pairs = [draw(messages((role,))) for _ in range(turns) for role in ("user", "assistant")]
    return Conversation(messages=(*system, *pairs))


@st.composite
def segments(draw: st.DrawFn, *, max_size: int = 4) -> Segments:
    """Pieces of text without a template, at least one of them trained.

    Args:
        draw: given by hypothesis.
        max_size: largest number of pieces.
    """
    texts = draw(st.lists(hostile_texts(), min_size=1, max_size=max_size))
    trained = draw(st.integers(0, len(texts) - 1))
    also = draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    return Segments(
        segments=tuple(
            Segment(text=text, train=index == trained or also[index], role="assistant", field=f"part_{index}")
            for index, text in enumerate(texts)
        )
    )


def lengths(*, longest: int = 64, max_size: int = 100) -> st.SearchStrategy[list[int]]:
    """Tokens of samples, from 1 to `longest`, many of them equal or at the ends."""
    one = st.one_of(st.integers(1, longest), st.sampled_from([1, longest, longest // 2 or 1]))
    return st.lists(one, max_size=max_size)


def chat_rows(cfg: DatasetConfig | None = None) -> st.SearchStrategy[dict[str, object]]:
    """Rows as `type: chat_template` reads them, from conversations.

    Args:
        cfg: `field_messages` and `message_property_mappings` of the rows; the defaults when not given.
    """
    settings = cfg if cfg is not None else DatasetConfig(path="rows.jsonl")
    names = settings.message_property_mappings

    def row(conversation: Conversation) -> dict[str, object]:
        listed = [
            {names.get(key, key): value for key, value in message.for_template().items()}
            for message in conversation.messages
        ]
        return {settings.field_messages or "messages": listed}

    return conversations().map(row)
