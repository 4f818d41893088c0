"""A chat template: conversations to text, with the origin of every character."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, cast

from jinja2 import TemplateError

from sft_data.render.environment import GENERATION, make_environment
from sft_data.render.traced import Traced
from sft_data.row import RowError
from sft_schema import DataError
from sft_schema.record import Conversation, Rendered

_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_NO_REASONING = frozenset({"role", "content"})
"""Keys of most messages."""


class ChatTemplate:
    """A compiled chat template.

    Args:
        text: the Jinja source.
        special_tokens: `bos_token`, `eos_token`... as the template's variables.
        arguments: further variables, such as `enable_thinking`.
        listed: a text content is handed over as a list of one text part, which is all that some templates read.

    Raises:
        DataError: the source is not valid Jinja.
    """

    def __init__(
        self, text: str, special_tokens: dict[str, str], arguments: dict[str, Any], *, listed: bool = False
    ) -> None:
        self.text, self._listed = text, listed
        self._variables: dict[str, Any] = {**special_tokens, **arguments}
        try:
            self._template = make_environment().from_string(text)
        except TemplateError as error:
            raise DataError(f"not valid Jinja: {error}", where="chat template", fix="correct it") from None

    def render(self, conversation: Conversation, *, add_generation_prompt: bool = False) -> Rendered:
        """The conversation as text; equal to transformers' `apply_chat_template(tokenize=False)`.

        Raises:
            RowError: `template_refused` when the template raises, `not_text` for half a surrogate pair.
        """
        messages = [_traced_message(each.for_template(), index) for index, each in enumerate(conversation.messages)]
        if self._listed:
            messages = [_as_list(each) for each in messages]
        tools = None if conversation.tools is None else list(conversation.tools)
        context: dict[str, Any] = {
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._variables,
        }
        try:
            text = cast(Traced, self._template.render(context))
        except (TemplateError, TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
            raise RowError("template_refused", f"{type(error).__name__}: {error}") from None
        require_text(text)
        found = sorted(text.sources, key=itemgetter(0, 1))
        spans = tuple(span for span in found if span.field != GENERATION)
        blocks = tuple((span.start, span.end) for span in found if span.field == GENERATION)
        return Rendered(str.__str__(text), spans, tuple(each.role for each in conversation.messages), blocks)


def require_text(text: str) -> None:
    """Raises RowError `not_text` when the text cannot be written as UTF-8."""
    try:
        str.encode(text, "utf-8")
    except UnicodeEncodeError as error:
        detail = f"character {error.start} is half a surrogate pair, which no encoding can hold"
        raise RowError("not_text", detail) from None


def _as_list(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _traced_message(message: dict[str, Any], index: int) -> dict[str, Any]:
    # transformers hands reasoning to templates under the names that they read
    if _NO_REASONING.issuperset(message):
        return {
            key: Traced.of(value, index, key) if isinstance(value, str) else _traced(value, index, key)
            for key, value in message.items()
        }
    reasoning = next((message[key] for key in _REASONING_KEYS if message.get(key) is not None), None)
    if reasoning is not None:
        message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
    return {key: _traced(value, index, key) for key, value in message.items()}


def _traced(value: Any, message: int, field: str) -> Any:
    if isinstance(value, str):
        return Traced.of(value, message, field)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _traced(each, message, f"{field}.{key}") for key, each in items}
    if isinstance(value, list):
        return [_traced(each, message, f"{field}.{i}") for i, each in enumerate(cast("list[Any]", value))]
    return value
