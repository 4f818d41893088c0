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
        weight: what it counts in the loss, 0 when it is not trained.
        reason: why it is trained: `turn`, `part`, `end_of_turn` or `input`, as in `Region`, or `labels` for tokens that
            came with theirs. Why it is not: `template` for text outside of messages, `turn_not_trained`,
            `part_not_trained` for a header or another part of a turn that is trained, `first_token` for a sample's
            first, which nothing may predict.
    """

    id: int
    text: str
    trained: bool
    message: int | None
    role: str | None
    field: str
    sample: int
    weight: float
    reason: str
