"""The defaults of the old system where ours differ, written out, so that the new file says what the old one meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeGuard, cast

from sft_schema.config import SftConfig
from sft_schema.foreign import SYSTEM_NAMES, System
from sft_schema.foreign.flow import flow, short
from sft_schema.migrate.draft import Change, Draft, Unsupported

ANY: Final = object()
"""Any value, as long as the key is there."""


@dataclass(frozen=True, slots=True)
class Default:
    """One row: what the old system takes when its file says nothing.

    Attributes:
        key: our key.
        value: our value; with `like`, a factor.
        when: keys of the new or the old file, with values, all of which must be there.
        unless: keys of the new or the old file, with values, none of which may be there.
        like: our key whose value times `value` it is.
        rough: why it is not exactly what the old system does; then it is listed as not carried over.
        more: a few words on where it holds.
    """

    key: str
    value: Any
    when: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unless: Mapping[str, Any] = field(default_factory=dict[str, Any])
    like: str = ""
    rough: str = ""
    more: str = ""


_LORA = {"adapter": "lora"}
_QLORA = {"adapter": "qlora"}
_NO_TARGETS = {"lora_target_modules": ANY, "lora_target_linear": ANY}
_PEFT_CHOOSES = Default(
    "lora_target_linear",
    True,
    _LORA,
    _NO_TARGETS,
    rough="the file names no layers, and peft's choice by the model's architecture is not known here",
)
_PEFT_CHOOSES_FOR_QLORA = replace(_PEFT_CHOOSES, when=_QLORA)
_STEPS_OF_SAVING = Default("save_strategy", "steps", {"save_steps": ANY})
_STEPS_OF_EVALUATION = Default("eval_strategy", "steps", {"eval_steps": ANY})

_AXOLOTL = (
    Default("sequence_len", 512),
    Default("excess_length_strategy", "drop"),
    Default("eval_batch_size", 1, like="micro_batch_size"),
    _STEPS_OF_SAVING,
    _STEPS_OF_EVALUATION,
    Default("warmup_ratio", 0.03, unless={"warmup_steps": ANY, "lr_scheduler": "constant"}),
    _PEFT_CHOOSES,
    _PEFT_CHOOSES_FOR_QLORA,
)
_TRANSFORMERS = (
    Default("excess_length_strategy", "truncate"),
    Default("output_dir", "trainer_output"),
    Default("micro_batch_size", 8),
    Default("eval_batch_size", 8),
    Default("num_epochs", 3.0, unless={"max_steps": ANY}),
    Default("lr_scheduler", "linear"),
    Default("save_strategy", "steps"),
    Default("save_steps", 500, {"save_strategy": "steps"}),
    Default("save_total_limit", 1000),
)
_TRL = (
    Default("sequence_len", 1024),
    Default("excess_length_strategy", "split", {"packing_strategy": "bfd_split"}, more="for this packing"),
    Default("excess_length_strategy", "split", {"packing_strategy": "wrapped"}, more="for this packing"),
    *_TRANSFORMERS,
    Default("learning_rate", 2e-5),
    Default("logging_steps", 10),
    Default("eval_steps", 1, {"eval_strategy": "steps"}, like="logging_steps"),
    Default("gradient_checkpointing", True),
    Default("bf16", True, unless={"fp16": True, "use_cpu": True}),
    Default("train_on_inputs", True, more="but for rows with `prompt` and `completion`"),
    Default("lora_dropout", 0.05, _LORA),
    _PEFT_CHOOSES,
)
_LLAMAFACTORY = (
    *_TRANSFORMERS,
    Default("learning_rate", 5e-5),
    Default("logging_steps", 500),
    Default("eval_steps", 1, {"eval_strategy": "steps"}, like="logging_steps"),
    Default("gradient_checkpointing", True),
    Default("adapter", "lora", unless={"finetuning_type": ANY}),
    Default("lora_r", 8, _LORA),
    Default("lora_alpha", 2, _LORA, like="lora_r"),
    Default("lora_target_linear", True, _LORA, _NO_TARGETS),
)
DEFAULTS: dict[System, tuple[Default, ...]] = {"axolotl": _AXOLOTL, "trl": _TRL, "llamafactory": _LLAMAFACTORY}


def complete(draft: Draft, values: Mapping[str, Any], system: System) -> None:
    """Adds the defaults of `system` that the draft needs.

    Args:
        draft: the new config so far.
        values: the old file.
        system: whose file it is.
    """
    if system == "trl":
        _share_data_set(draft)
        _name_formats(draft)
    _choose_layers_once(draft)
    for row in DEFAULTS[system]:
        if _applies(row, draft, values):
            _write_out(row, draft, system)


def _applies(row: Default, draft: Draft, values: Mapping[str, Any]) -> bool:
    if row.key in draft.settings or (row.like and row.like not in _numbers(draft)):
        return False
    places = (draft.settings, values)
    needed = all(any(_is(place, key, value) for place in places) for key, value in row.when.items())
    return needed and not any(_is(place, key, value) for place in places for key, value in row.unless.items())


def _is(place: Mapping[str, Any], key: str, value: Any) -> bool:
    found = place.get(key)
    return found is not None and (value is ANY or found == value)


def _numbers(draft: Draft) -> set[str]:
    return {key for key, value in draft.settings.items() if isinstance(value, int) and not isinstance(value, bool)}


def _write_out(row: Default, draft: Draft, system: System) -> None:
    value = draft.settings[row.like] * row.value if row.like else row.value
    if SftConfig.model_fields[row.key].default == value:
        return
    draft.settings[row.key] = value
    whose = " ".join(filter(None, (f"the default of {SYSTEM_NAMES[system]}", row.more)))
    draft.notes[row.key] = whose
    if row.rough:
        draft.unsupported.append(Unsupported(row.key, None, None, row.rough, f"check `{row.key}: {flow(value)}`"))
    else:
        draft.changed.append(Change(row.key, None, "", f"{row.key}: {flow(value)}", f"{whose}; ours is another"))


def _choose_layers_once(draft: Draft) -> None:
    """Leaves one way to name the layers of an adapter. With both, axolotl adapts the layers of both."""
    linear, names = (draft.settings.get(key) for key in ("lora_target_linear", "lora_target_modules"))
    if linear is False:
        _leave_out(draft, "lora_target_linear", "it names no layers")
    if names == []:
        _leave_out(draft, "lora_target_modules", "it names no layers")
    elif linear is True and isinstance(names, list) and not _beyond_linear(cast("list[Any]", names)):
        _leave_out(draft, "lora_target_modules", "`lora_target_linear: true` adapts these and all other linear layers")


def _beyond_linear(names: list[Any]) -> bool:
    """Whether a name may be the head or an embedding, which `lora_target_linear` leaves out."""
    return any("head" in str(name) or "embed" in str(name) for name in names)


def _leave_out(draft: Draft, ours: str, why: str) -> None:
    key, line, value = draft.origin[ours]
    del draft.settings[ours]
    draft.drop_change(key, why)
    if key == ours:
        draft.changed.append(Change(key, line, f"{key}: {short(value)}", "", why))


def _share_data_set(draft: Draft) -> None:
    """TRL evaluates on another split of the data set that it trains on, when an `eval_strategy` asks for it.

    It tells the format of the rows by their columns, where our `type` says it.
    """
    if "test_datasets" in draft.settings and draft.origin["test_datasets"][0] != "dataset_test_split":
        return
    held_out = draft.settings.pop("test_datasets", None) or [{"split": "test"}]
    entries = draft.settings.get("datasets")
    asked = draft.settings.get("eval_strategy") not in (None, "no")
    if not asked or "val_set_size" in draft.settings or not _is_single(entries):
        draft.drop_change("dataset_test_split", "nothing asks for an evaluation on it")
        return
    draft.settings["test_datasets"] = [{**entries[0], **held_out[0]}]
    draft.notes["test_datasets"] = "the split that TRL evaluates on"


def _is_single(entries: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(entries, list) and len(entries) == 1 and isinstance(entries[0], dict)  # pyright: ignore


def _name_formats(draft: Draft) -> None:
    entries = draft.settings.get("datasets")
    if isinstance(entries, list) and not any("type" in each for each in entries if isinstance(each, dict)):  # pyright: ignore
        draft.notes["datasets"] = "rows with `messages`; rows with `text` need `type: completion`"
