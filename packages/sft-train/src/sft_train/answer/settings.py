"""How tokens are chosen, and how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_LONGEST = 1024
"""Tokens of an answer where neither the user nor the model's folder says how many."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the user says; None leaves it to generation_config.json of the model's folder.

    Attributes:
        max_new_tokens: longest answer, in tokens.
        temperature: 0 takes the most likely token each time; higher values spread the choice.
        top_p: tokens are drawn from the likeliest ones that make up this probability (arXiv 1904.09751).
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None

    def arguments(self, own: Any, room: int | None) -> dict[str, Any]:
        """Arguments of `generate`.

        Args:
            own: the model's generation config.
            room: tokens that the model's positions leave for the answer; None for no limit.
        """
        longest = self.max_new_tokens or own.max_new_tokens or _LONGEST
        found: dict[str, Any] = {"max_new_tokens": longest if room is None else min(longest, room), "use_cache": True}
        if self.temperature is not None:
            found["do_sample"] = self.temperature > 0
            found["temperature"] = self.temperature if self.temperature > 0 else None
        if self.top_p is not None:
            found["top_p"] = self.top_p
            found.setdefault("do_sample", True)
        if found.get("do_sample") is False:  # settings of drawing, which generate would warn about
            found |= {"temperature": None, "top_p": None, "top_k": None}
        return found
