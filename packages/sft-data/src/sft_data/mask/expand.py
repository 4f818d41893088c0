"""One conversation per supervised turn, where a template shows earlier turns otherwise than when they were written."""

from __future__ import annotations

from sft_data.mask.increment import Probe, find_increments
from sft_data.mask.policy import MaskPolicy
from sft_schema.record import Conversation


def expand_turns(probe: Probe, conversation: Conversation, policy: MaskPolicy) -> list[Conversation]:
    """The conversation up to each trained turn, with that turn alone trained, as inference will see it.

    A conversation whose earlier turns all look in the whole as they did when they were last stays one: it teaches the
    same with fewer tokens.
    """
    chosen = sorted(policy.trained_messages(conversation))
    answers = [index for index in chosen if conversation.messages[index].role == "assistant"]
    if not find_increments(probe, conversation, answers).rewritten:
        return [conversation]
    return [_upto(conversation, index) for index in chosen]


def _upto(conversation: Conversation, last: int) -> Conversation:
    return conversation.model_copy(
        update={
            "messages": conversation.messages[: last + 1],
            "trained": (False,) * last + (True,),
            "weights": conversation.weights[: last + 1],
            "parts": tuple(part for part in conversation.parts if part.message == last),
        }
    )
