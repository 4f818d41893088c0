"""The processor that a vision model comes with: what it writes for a picture, and what it makes of one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from sft_data.optional import load_processor
from sft_schema.config import ModelSection

_MEDIA = re.compile(r"^(image|video|audio|vision|boi|eoi)(_\w+)?_token$")
"""Attributes of a processor that hold the text of such a token."""
_OF_TOKENIZER = ("image_token", "boi_token", "eoi_token", "video_token", "audio_token")
"""Where Gemma's tokenizer has them."""

REFUSALS = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, StopIteration)
"""What processors raise for pictures that they cannot take, and for numbers of pictures that do not fit the text."""


@dataclass(frozen=True, slots=True)
class PictureProcessor:
    """A processor of transformers.

    Attributes:
        backend: the processor itself.
        media_tokens: texts that stand for pictures, films or sound, in whole or in part.
    """

    backend: Any
    media_tokens: tuple[str, ...]

    @classmethod
    def load(cls, cfg: ModelSection) -> PictureProcessor:
        """The processor of `tokenizer_config`, else of `base_model`; raises DataError."""
        source = cfg.tokenizer_config or cfg.base_model
        revision = None if cfg.tokenizer_config else cfg.revision_of_model
        backend = load_processor(source, revision, cfg.trust_remote_code)
        return cls(backend, _media_tokens(backend))

    @property
    def image_token(self) -> str:
        """What stands for a picture where the processor does not replace it by something longer."""
        return str(self.backend.image_token)

    @property
    def chat_template(self) -> str | None:
        """The template that comes with the processor, if there is one."""
        found: Any = getattr(self.backend, "chat_template", None)
        if isinstance(found, dict):
            found = found.get("default")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        return found if isinstance(found, str) else None

    def digest(self) -> str:
        """Changes with the settings that decide how many tokens a picture becomes."""
        return hashlib.sha256(self.backend.to_json_string().encode()).hexdigest()


def _media_tokens(backend: Any) -> tuple[str, ...]:
    found: set[Any] = {value for key, value in _attributes(backend).items() if _MEDIA.search(key)}
    found |= {getattr(backend.tokenizer, name, None) for name in _OF_TOKENIZER}
    return tuple(sorted(value for value in found if isinstance(value, str) and value))


def _attributes(backend: object) -> dict[str, Any]:
    return vars(backend)
