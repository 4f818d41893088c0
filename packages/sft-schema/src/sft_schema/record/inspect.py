"""One token as `sft inspect` and the report show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InspectedToken:
    """A token and why it is trained or not.

    Attributes:
        id: vocabulary index.
        text: the characters of the rendered text that it covers.
        trained: whether it has a label.
        message: index of the message it belongs to; None for template text between messages.
        role: that message's role.
        field: `content`, `role`..., `end_of_turn` for a stop token, or `template`.
        sample: index of the sample within the row.
    """

    id: int
    text: str
    trained: bool
    message: int | None
    role: str | None
    field: str
    sample: int
