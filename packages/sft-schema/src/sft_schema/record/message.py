"""A conversation as the user wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from sft_schema.record.picture import PictureSource


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(_Record):
    """One message of a conversation, in the format of OpenAI's chat API.

    Keys that this class does not name are kept and reach the chat template as they are: templates read
    many (`thinking`, `tool_call_id`, `name`...).

    Attributes:
        role: who speaks: `system`, `user`, `assistant`, `tool`, or what the template knows.
        content: the text, or a list of content parts, or None when there are only tool calls.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    role: str
    content: str | list[dict[str, Any]] | None = None

    def for_template(self) -> dict[str, Any]:
        """The keys that were given, as templates expect them: an absent key stays absent."""
        if "content" not in self.model_fields_set:
            return {"role": self.role, **(self.model_extra or {})}
        return {"role": self.role, "content": self.content, **(self.model_extra or {})}


class TrainSpan(_Record):
    """Part of a message's text that is trained, or is not.

    Attributes:
        message: index of the message.
        field: `content`, or the name of another text of the message.
        start: first character of the part.
        end: one past its last character.
        train: whether it is trained.
        weight: of its tokens in the loss, above 0.
    """

    message: int
    field: str
    start: int
    end: int
    train: bool
    weight: float = 1.0


class Conversation(_Record):
    """Messages in order, and the tools that the assistant may call (JSON schemas).

    Attributes:
        messages: in order.
        tools: as the template reads them.
        trained: for each message what the data says about its training, None for nothing; empty when no message
            says anything.
        weights: for each message what its tokens count in the loss, above 0; empty when all of them count 1.
        parts: of messages whose text is trained in part; their weights multiply the message's.
        pictures: in the order of the content parts of type `image`.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] | None = None
    trained: tuple[bool | None, ...] = ()
    weights: tuple[float, ...] = ()
    parts: tuple[TrainSpan, ...] = ()
    pictures: tuple[PictureSource, ...] = ()


class Segment(_Record):
    """A piece of text without a chat template, and whether it is trained.

    Attributes:
        text: the piece as it is tokenised.
        train: whether its tokens are trained.
        role: who would say it: `user` for a prompt, `assistant` for an answer.
        field: column of the row it came from, or `eos` for the end token.
        weight: of its tokens in the loss, above 0.
    """

    text: str
    train: bool
    role: str
    field: str
    weight: float = 1.0


class Segments(_Record):
    """A text of several pieces, encoded as one string.

    Attributes:
        segments: in order.
        complete: begin, end and control tokens stand in the pieces already, and none are added.
    """

    segments: tuple[Segment, ...]
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text that is tokens already.

    Attributes:
        input_ids: ids of the run's tokenizer, at least one.
        labels: as many: the token itself where it is trained, IGNORE_INDEX elsewhere.
        weights: as many: what each trained token counts in the loss, above 0; empty when all of them count 1.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    weights: tuple[float, ...] = ()


Example = Conversation | Segments | Tokens
"""What a format makes of a row."""
