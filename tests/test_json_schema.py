"""The JSON Schema of a config, judged by another implementation than the one that made it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_schema import SftConfig, parse_config
from sft_schema.jsonschema import config_schema
from sft_schema.yaml_source import read_yaml

ROOT = Path(__file__).parents[1]
CONFIGS = sorted([*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("tools/quickstart/*.yaml")])
VALIDATOR = jsonschema.Draft202012Validator(config_schema())
SOUND: dict[str, Any] = {
    "base_model": "some/model",
    "datasets": [{"path": "a.jsonl", "roles_to_train": ["assistant"]}, {"path": "b", "type": "alpaca"}],
    "learning_rate": 1e-4,
    "adapter": "lora",
    "lora_target_modules": ["q_proj"],
    "special_tokens": {"pad_token": "<pad>"},
    "chat_template_kwargs": {"enable_thinking": False},
    "bf16": "auto",
    "resume_from_checkpoint": True,
    "save_strategy": "steps",
    "save_steps": 10,
}


def errors(config: dict[str, Any]) -> list[str]:
    return sorted("/".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(config))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    assert config_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_config_of_the_project_is_valid(file: Path) -> None:
    found = read_yaml(file.read_text(encoding="utf-8"), file.name)
    assert found.issues == []
    assert errors(found.values) == []


def test_examples_are_found() -> None:
    assert "qwen3-oasst.yaml" in [file.name for file in CONFIGS]


@pytest.mark.parametrize("file", sorted(ROOT.glob("examples/*.yaml")), ids=lambda file: file.name)
def test_every_example_names_the_schema_for_the_editor(file: Path) -> None:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    named = (file.parent / first.partition("$schema=")[2]).resolve()
    assert json.loads(named.read_text(encoding="utf-8")) == config_schema()


def test_a_config_with_every_kind_of_value_is_valid_for_both() -> None:
    assert errors(SOUND) == []
    cfg = parse_config(yaml.safe_dump(SOUND))
    assert errors(cfg.model_dump(mode="json")) == [], "a resolved config is valid too"


Change = Callable[[dict[str, Any]], object]
BROKEN: dict[str, tuple[Change, str]] = {
    "a required setting is missing": (lambda config: config.pop("base_model"), ""),
    "a misspelt key": (lambda config: config.update(sampel_packing=True), ""),
    "a misspelt key of a data set": (lambda config: config["datasets"][0].update(tpye="alpaca"), "datasets/0"),
    "a key of another system": (lambda config: config.update(flash_attention=True), ""),
    "no data sets": (lambda config: config.update(datasets=[]), "datasets"),
    "a data set that is a text": (lambda config: config.update(datasets=["a.jsonl"]), "datasets/0"),
    "an unknown format": (lambda config: config["datasets"][1].update(type="alpacca"), "datasets/1/type"),
    "a text for a number": (lambda config: config.update(learning_rate="1e-4"), "learning_rate"),
    "a learning rate below 0": (lambda config: config.update(learning_rate=-1), "learning_rate"),
    "a learning rate of 0": (lambda config: config.update(learning_rate=0), "learning_rate"),
    "a dropout of 1": (lambda config: config.update(lora_dropout=1), "lora_dropout"),
    "half a row": (lambda config: config.update(micro_batch_size=1.5), "micro_batch_size"),
    "too short rows": (lambda config: config.update(sequence_len=1), "sequence_len"),
    "a number for a switch": (lambda config: config.update(sample_packing=1), "sample_packing"),
    "a text for a list": (lambda config: config.update(roles_to_train="assistant"), "roles_to_train"),
    "an unknown optimizer": (lambda config: config.update(optimizer="adam"), "optimizer"),
    "an unknown attention": (lambda config: config.update(attn_implementation="flash"), "attn_implementation"),
    "an attention that is not built": (
        lambda config: config.update(attn_implementation="torch_varlen"),
        "attn_implementation",
    ),
    "a word for true, false or auto": (lambda config: config.update(bf16="maybe"), "bf16"),
    "a special token nobody has": (lambda config: config["special_tokens"].update(cls_token="x"), "special_tokens"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_config_is_rejected_at_its_place(name: str) -> None:
    change, place = BROKEN[name]
    config = yaml.safe_load(yaml.safe_dump(SOUND))
    change(config)
    assert errors(config) == [place]


keys = st.sampled_from(sorted(SftConfig.model_fields))
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(-2, 2), st.text(max_size=6))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2))


@given(keys, values)
@settings(max_examples=300, deadline=None)
def test_what_the_schema_rejects_is_no_config_either(key: str, value: Any) -> None:
    """Both come from one definition; this is the half that an editor must not get wrong."""
    config = {**SOUND, key: value}
    try:
        SftConfig.model_validate_json(json.dumps(config))
    except ValueError:
        return
    places = [place for place in errors(config) if place != "attn_implementation"]  # the rules refuse that one
    assert places == []
