"""Answers that depend on the value, for rows that need more than one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sft_schema.foreign.answer import Accepted, Answer, Judge, Refusal, Rewrite, Settings


def choice(answers: Mapping[str, Answer], otherwise: Answer | None = None) -> Judge:
    """An answer for each text, several texts separated by spaces; any other value gets `otherwise`.

    Without `otherwise` other values are accepted: the setting's own type judges them.
    """
    by_value = {word: answer for words, answer in answers.items() for word in words.split()}

    def judge(value: Any) -> Answer:
        found = by_value.get(value) if isinstance(value, str) else None
        return found or otherwise or Accepted()

    return judge


def switch(on: Settings | Refusal, off: Settings | Refusal | None = None, why: str = "") -> Judge:
    """Answers to true and false; without `off`, false asks for nothing.

    Args:
        on: what true says with our keys, or why it cannot be said.
        off: the same for false.
        why: shown when one of them needs no words here.
    """
    answers = {True: _answer(on, why), False: _answer(off or {}, why or "it is off, and asks for nothing")}

    def judge(value: Any) -> Answer:
        if isinstance(value, bool):
            return answers[value]
        return Refusal("it is neither true nor false", "write true or false, or remove it")

    return judge


def listed(to: str) -> Judge:
    """A list, or a text with commas between its items, becomes the list `to`."""

    def judge(value: Any) -> Answer:
        if isinstance(value, str):
            return Rewrite({to: [part.strip() for part in value.split(",") if part.strip()]})
        return Rewrite({to: value})

    return judge


def whole_steps(steps: str) -> Judge:
    """A number of steps, which transformers also takes as `100.0`."""

    def judge(value: Any) -> Answer:
        if isinstance(value, float) and value.is_integer():
            return Rewrite({steps: int(value)})
        return Accepted()

    return judge


def fraction_moves_to(to: str) -> Judge:
    """A value below 1 belongs to the key `to`."""

    def judge(value: Any) -> Answer:
        return Rewrite({to: value}) if isinstance(value, float) and 0 < value < 1 else Accepted()

    return judge


def number_in_text(key: str) -> Judge:
    """A number in quotes, as YAML 1.1 needs them for `2e-5`, becomes a number."""

    def judge(value: Any) -> Answer:
        try:
            return Rewrite({key: float(value)}) if isinstance(value, str) else Accepted()
        except ValueError:
            return Accepted()

    return judge


def no_limit(key: str) -> Judge:
    """Transformers' -1, which means that there is no limit."""

    def judge(value: Any) -> Answer:
        off = isinstance(value, int) and not isinstance(value, bool) and value <= 0
        return Rewrite({}, f"without {key} there is no limit") if off else Accepted()

    return judge


def lora_targets(value: Any) -> Answer:
    """Peft takes a text here too: `all-linear`, one name, names with commas, or a regular expression."""
    if not isinstance(value, str):
        return Accepted()
    if value in ("all-linear", "all"):
        return Rewrite({"lora_target_linear": True})
    if set(value) & set("\\^$*+?()[]{}|"):
        return Accepted()
    return listed("lora_target_modules")(value)


def off(key: str) -> Judge:
    """False, also as a text, asks for what an absent key does."""

    def judge(value: Any) -> Answer:
        if value is False or value == "false":
            return Rewrite({}, f"without {key} nothing of it is done")
        return Accepted()

    return judge


def subset(key: str, known: tuple[str, ...], reason: str) -> Judge:
    """A list of which only the known items can be had."""

    def judge(value: Any) -> Answer:
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        kept = [item for item in items if item in known]
        if kept == items:
            return Accepted() if isinstance(value, list) else Rewrite({key: kept})
        return Refusal(reason, f"write `{key}: [{', '.join(known)}]`", {key: list(known)})

    return judge


def _answer(said: Settings | Refusal, why: str) -> Answer:
    return said if isinstance(said, Refusal) else Rewrite(said, "" if said else why)


def fsdp(value: Any) -> Answer:
    """Older ways to ask for FSDP: true, or words such as `full_shard auto_wrap`."""
    words = value.split() if isinstance(value, str) else cast("list[Any]", value) if isinstance(value, list) else []
    if value is False or (words == [] and value in ("", [])):
        return Rewrite({}, "it is off, and asks for nothing")
    if value is True or (words and all(word in ("full_shard", "auto_wrap") for word in words)):
        return Rewrite({"fsdp_version": 2})
    reason = "FSDP2 shards weights, gradients and optimizer, layer by layer, and has its other choices in `fsdp_config`"
    return Refusal(reason, "write `fsdp_version: 2`, and offload_params in `fsdp_config` for the host's memory")
