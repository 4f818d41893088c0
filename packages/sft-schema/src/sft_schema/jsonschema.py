"""The config as JSON Schema, for editors and for programs in other languages.

A YAML file that begins with

    # yaml-language-server: $schema=config.schema.json

gets completion, the documentation of each key and its mistakes underlined while it is written. The same schema is
shipped as `sft_schema/config.schema.json` and printed by `sft config-schema`. It knows every setting with its type and
bounds; what is impossible about combinations of settings only `load_config` says.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from sft_schema.attention import BACKENDS
from sft_schema.config import SftConfig
from sft_schema.constants import CONFIG_VERSION

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a config file: types, bounds, defaults, descriptions, and no other keys."""
    made = SftConfig.model_json_schema()
    head: dict[str, Any] = {
        "$schema": DIALECT,
        "$id": f"urn:sft-schema:config:{CONFIG_VERSION}",
        "title": f"sft config, version {CONFIG_VERSION}",
    }
    schema = head | {key: _untitled(value) for key, value in made.items() if key != "title"}
    schema["properties"]["attn_implementation"]["enum"] = list(BACKENDS)
    return schema


def schema_text() -> str:
    """The schema as the shipped file has it."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def shipped_schema() -> str:
    """The text of the file that comes with the package."""
    return (resources.files("sft_schema") / "config.schema.json").read_text(encoding="utf-8")


def _untitled(value: Any) -> Any:
    """Without the titles that pydantic makes of names: they say a key's name again."""
    if isinstance(value, list):
        return [_untitled(each) for each in value]  # pyright: ignore
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for key, each in value.items():  # pyright: ignore
        if key == "properties":
            kept[key] = {name: _untitled(inner) for name, inner in each.items()}  # pyright: ignore
        elif key != "title":
            kept[key] = each if key == "default" else _untitled(each)  # pyright: ignore
    return kept
