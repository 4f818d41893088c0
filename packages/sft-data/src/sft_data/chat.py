"""A chat template in use: compiled, with what it puts around an assistant's turn."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from sft_data.encoding import Encoded
from sft_data.mask import PLAIN_CHAT, MaskPolicy, Probe, TurnMarkers, find_disagreement, find_markers, turn_regions
from sft_data.render import ChatTemplate
from sft_data.row import RowError
from sft_data.templates import choose_template, eot_ids, require_control_tokens
from sft_data.tokenizer import TextTokenizer
from sft_schema import DataError, SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, Rendered


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat template for one or several data sets.

    Attributes:
        template: compiled.
        markers: its generation prompt and stop tokens.
        stops: texts of the stop tokens.
    """

    template: ChatTemplate
    markers: TurnMarkers
    stops: tuple[str, ...]

    def render(self, conversation: Conversation, prompt: bool = False) -> Rendered:
        """The conversation as text, with the generation prompt if asked.

        Tool calls are objects. A template that joins their arguments to texts gets them as JSON texts.

        Raises:
            RowError: see `ChatTemplate.render`.
        """
        try:
            return self.template.render(conversation, add_generation_prompt=prompt)
        except RowError:
            as_text = _arguments_as_text(conversation)
            if as_text is None:
                raise
        return self.template.render(as_text, add_generation_prompt=prompt)


def _arguments_as_text(conversation: Conversation) -> Conversation | None:
    """The conversation with the arguments of its tool calls as JSON texts; None when it has no calls."""
    messages = list(conversation.messages)
    for index, message in enumerate(messages):
        calls: Any = (message.model_extra or {}).get("tool_calls")
        if calls:
            messages[index] = message.model_copy(update={"tool_calls": [_call_as_text(call) for call in calls]})
    found = tuple(messages) != conversation.messages
    return conversation.model_copy(update={"messages": tuple(messages)}) if found else None


def _call_as_text(call: dict[str, Any]) -> dict[str, Any]:
    if isinstance(call.get("function"), dict):
        return {**call, "function": _call_as_text(call["function"])}
    arguments = call.get("arguments")
    return call if isinstance(arguments, str) else {**call, "arguments": json.dumps(arguments, ensure_ascii=False)}


def load_chat(cfg: SftConfig, dataset: DatasetConfig | None, tokenizer: TextTokenizer) -> Chat:
    """The chat template of a data set, checked against the tokenizer and a plain conversation.

    Raises:
        DataError: there is none, or it cannot be used.
    """
    text = choose_template(cfg, dataset, tokenizer.own_template)
    if text is None:
        fix = "set `chat_template: chatml`, or `chat_template: jinja` with `chat_template_jinja`"
        raise DataError("the tokenizer has no chat template", where=str(tokenizer.folder), fix=fix)
    require_control_tokens(text, tokenizer.backend, str(tokenizer.folder))
    template = _compiled(cfg, text, tokenizer)
    eos = tokenizer.special_tokens.get("eos_token")
    try:
        markers = find_markers(
            lambda conversation, prompt: template.render(conversation, add_generation_prompt=prompt),
            lambda each: tokenizer.encode_batch([each])[0],
            tokenizer.special_ids,
            tokenizer.eos_ids,
            eot_ids(cfg, text, tokenizer.backend, eos),
        )
    except RowError as error:
        fix = "use a template that renders user and assistant messages in turn"
        raise DataError(f"refuses a plain conversation: {error.detail}", where="chat template", fix=fix) from None
    chat = Chat(template, markers, tuple(tokenizer.backend.id_to_token(each) or "" for each in markers.stop_ids))
    probe = Probe(chat.render, lambda each: tokenizer.encode_batch([each])[0], chat.stops)
    rendered = chat.render(PLAIN_CHAT)
    require_agreement(probe, PLAIN_CHAT, rendered, probe.encode(rendered.text), markers)
    return chat


def _compiled(cfg: SftConfig, text: str, tokenizer: TextTokenizer) -> ChatTemplate:
    """The template; with pictures, one that prints nothing of a plain text is handed lists of parts (LLaVA's)."""
    variables = (tokenizer.special_tokens, dict(cfg.chat_template_kwargs))
    template = ChatTemplate(text, *variables)
    if cfg.processor_type is None:
        return template
    try:
        printed = {span.message for span in template.render(PLAIN_CHAT).spans if span.field == "content"}
    except RowError:
        printed = set[int]()
    return template if len(printed) == len(PLAIN_CHAT.messages) else ChatTemplate(text, *variables, listed=True)


_WHOLE_TURNS = MaskPolicy(
    train_on_inputs=False,
    train_on_eos="turn",
    train_on_eot="turn",
    roles_to_train=frozenset(["assistant"]),
    mask_history=False,
    train_on_reasoning=True,
    special_in_content="allow",
)


def require_agreement(
    probe: Probe, conversation: Conversation, rendered: Rendered, encoded: Encoded, markers: TurnMarkers
) -> None:
    """Finds the assistant's turns in both ways, from spans and from what renders grow by.

    Raises:
        DataError: they differ; both are shown.
    """
    plain = conversation.model_copy(update={"trained": (), "parts": ()})
    try:
        regions = turn_regions(plain, replace(rendered, generations=()), encoded, markers, _WHOLE_TURNS)
    except RowError:
        return  # a turn that is not trained may be beyond finding
    found = find_disagreement(probe, plain, rendered, regions)
    if found is not None:
        fix = "use another template, and report this one: its masks cannot be trusted"
        raise DataError(f"two ways to find a turn disagree: {found}", where="chat template", fix=fix)
