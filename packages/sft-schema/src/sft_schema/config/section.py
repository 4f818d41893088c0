"""The base of every section of the config, and the one place where strictness is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Callable


class Section(BaseModel):
    """A frozen group of settings; unknown keys and values of a wrong type are refused.

    pydantic compiles a class when it is first used, so that an import pays for none, and sections that are only
    inherited from are never compiled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, defer_build=True)


def setting(doc: str, default: Any = ..., **bounds: Any) -> Any:
    """One setting with the sentence that documents it.

    Args:
        doc: one sentence; it becomes the reference page and the help text.
        default: the value when the key is absent, or the section whose defaults it is; required when not given.
        bounds: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`.
    """
    field: Callable[..., Any] = Field
    if isinstance(default, type):
        return field(default_factory=default, description=doc, json_schema_extra={"default": {}})
    return field(default, description=doc, **bounds)
