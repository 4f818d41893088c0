"""What a checkpoint says of its own files: manifest.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StoredFile(BaseModel):
    """One file as it was written.

    Attributes:
        bytes: its size.
        sha256: its SHA-256 (FIPS 180-4) in 64 hex digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class CheckpointManifest(BaseModel):
    """All files of a folder but the manifest itself, by their paths in it, with `/` between names.

    Attributes:
        version: of this format.
        files: what was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    files: dict[str, StoredFile]
