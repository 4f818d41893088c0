"""What makes the samples besides the config: packages, and formats of the user's own."""

from __future__ import annotations

from importlib.metadata import version

from sft_data.format import function_digest
from sft_schema.config import DataSection

_VERSIONED = ("sft-data", "sft-schema", "tokenizers", "jinja2")


def versions() -> dict[str, str]:
    """Versions of the packages that decide the samples."""
    return {name: version(name) for name in _VERSIONED}


def function_digests(cfg: DataSection) -> dict[str, str]:
    """SHA-256 of the source of each custom format in use, by its name in the config."""
    names = {each.format_function for each in (*cfg.datasets, *cfg.test_datasets)} - {None}
    return {name: function_digest(name) for name in names if name is not None}
