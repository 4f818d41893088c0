"""The base of every section of the config, and the one place where strictness is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Callable


class Section(BaseModel):
    """A frozen group of settings; unknown keys and values of a wrong type are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def setting(doc: str, default: Any = ..., **bounds: Any) -> Any:
    """One setting with the sentence that documents it.

    Args:
        doc: one sentence; it becomes the reference page and the help text.
        default: the value when the key is absent; required when not given.
        bounds: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`.
    """
    field: Callable[..., Any] = Field
    return field(default, description=doc, **bounds)
