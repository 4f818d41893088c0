"""Where keys can stand: at the top level, in an entry of `datasets`, inside a mapping; and what each means there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sft_schema.config import (
    BitsAndBytesSettings,
    CheckpointingKwargs,
    DatasetConfig,
    FsdpSettings,
    LrGroup,
    Section,
    SftConfig,
    SpecialTokens,
)
from sft_schema.foreign.answer import Accepted, Answer, Judge, Refusal, Rewrite, Rows
from sft_schema.foreign.axolotl import AXOLOTL, AXOLOTL_DATASET, NESTED
from sft_schema.foreign.llamafactory import LLAMAFACTORY
from sft_schema.foreign.trl import TRL, TRL_DATASET
from sft_schema.foreign.values import BNB_VALUES, DATASET_VALUES, VALUES

System = Literal["axolotl", "trl", "llamafactory"]

SYSTEM_NAMES: dict[System, str] = {"axolotl": "axolotl", "trl": "TRL", "llamafactory": "LLaMA-Factory"}
"""The systems as they call themselves."""

ENTRIES = ("datasets", "test_datasets")
"""Keys that hold a list of entries."""


INNER_SECTIONS: dict[str, type[Section]] = {
    **dict.fromkeys(ENTRIES, DatasetConfig),
    "special_tokens": SpecialTokens,
    "bnb_config_kwargs": BitsAndBytesSettings,
    "lr_groups": LrGroup,
    "gradient_checkpointing_kwargs": CheckpointingKwargs,
    "fsdp_config": FsdpSettings,
}
"""Settings that hold settings: a mapping of them, or a list of mappings."""

_NOT_FINITE = Refusal("it is no finite number", "write a number, or remove it")
_NO_MAPPING = Refusal("it is no mapping of keys to values", "write a mapping, or remove it")


@dataclass(frozen=True, slots=True)
class Scope:
    """The keys of one place.

    Attributes:
        own: our keys.
        rows: keys of other systems; some are ours too.
        values: answers to values of our keys.
        inner: scopes of the mappings, or lists of mappings, in it.
        name: the place in words.
    """

    own: frozenset[str]
    rows: Rows
    values: Mapping[str, Judge] = field(default_factory=dict[str, Judge])
    inner: Mapping[str, Scope] = field(default_factory=dict[str, "Scope"])
    name: str = "the top level"

    def knows(self, key: str) -> bool:
        """Whether the key is ours or stands in a table."""
        return key in self.own or key in self.rows

    def answer(self, key: str, value: Any) -> Answer | None:
        """What a key with this value means here; None when nobody has such a key."""
        if not self.knows(key):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return _NOT_FINITE
        found = Rewrite({key: value}) if key in self.own else self.rows[key].answer(value)
        if isinstance(found, Rewrite) and len(found.settings) == 1:
            found = self._judged(found)
        if key in self.inner and key not in self.own and not isinstance(value, dict | list):
            return found if isinstance(found, Refusal) else _NO_MAPPING
        return Accepted() if found == Rewrite({key: value}) else found

    def about(self, key: str, answer: Answer) -> set[str]:
        """Our keys that an answer is about."""
        row = self.rows.get(key)
        said: Mapping[str, Any] = {} if isinstance(answer, Accepted) else _settings(answer)
        return {*said, *(row.to if row else ()), *({key} & self.own)}

    def _judged(self, said: Rewrite) -> Answer:
        ((key, value),) = said.settings.items()
        judge = self.values.get(key)
        found = judge(value) if judge else Accepted()
        return said if isinstance(found, Accepted) else found


def _settings(answer: Rewrite | Refusal) -> Mapping[str, Any]:
    return answer.settings if isinstance(answer, Rewrite) else answer.instead


def _top_level(rows: Rows, dataset_rows: Rows) -> Scope:
    dataset = Scope(frozenset(DatasetConfig.model_fields), dataset_rows, DATASET_VALUES, name="an entry of `datasets`")
    inner = {key: Scope(frozenset(), keys, name=f"`{key}`") for key, keys in NESTED.items() if key in rows}
    tokens = Scope(frozenset(SpecialTokens.model_fields), NESTED["special_tokens"], name="`special_tokens`")
    bits = Scope(
        frozenset(BitsAndBytesSettings.model_fields),
        NESTED["bnb_config_kwargs"],
        BNB_VALUES,
        name="`bnb_config_kwargs`",
    )
    groups = Scope(frozenset(LrGroup.model_fields), {}, name="an entry of `lr_groups`")
    recomputing = Scope(
        frozenset(CheckpointingKwargs.model_fields),
        NESTED["gradient_checkpointing_kwargs"],
        name="`gradient_checkpointing_kwargs`",
    )
    fsdp = Scope(frozenset(FsdpSettings.model_fields), NESTED["fsdp_config"], name="`fsdp_config`")
    inner |= {"gradient_checkpointing_kwargs": recomputing, "fsdp_config": fsdp}
    inner |= {"special_tokens": tokens, "bnb_config_kwargs": bits, "lr_groups": groups}
    inner |= dict.fromkeys(ENTRIES, dataset)
    return Scope(frozenset(SftConfig.model_fields), rows, VALUES, inner)


SYSTEMS: dict[System, Scope] = {
    "axolotl": _top_level(AXOLOTL, AXOLOTL_DATASET),
    "trl": _top_level(TRL, TRL_DATASET),
    "llamafactory": _top_level(LLAMAFACTORY, {}),
}
"""The top level of each system's files."""

ANY_SYSTEM = _top_level(LLAMAFACTORY | TRL | AXOLOTL, TRL_DATASET | AXOLOTL_DATASET)
"""The top level of a file of any system; where two have a key of one name, the first of `SYSTEMS` counts."""
