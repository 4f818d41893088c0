"""What `sft init` chooses, and what it writes."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sft_cli.starter import DataLook, Hardware, ModelLook, config_text, look_at, look_at_model, parse_hardware, plan
from sft_cli.starter.choose import choose_method
from sft_cli.starter.write import scalar
from sft_schema import DataError, SftConfig, parse_config
from sft_schema.advice import advice
from sft_schema.jsonschema import schema_text

CPU, SMALL, LARGE, MANY = Hardware(0, 0), Hardware(1, 24), Hardware(1, 80), Hardware(8, 80)
CHAT = DataLook("a.jsonl", {"type": "chat_template"}, "messages", 5_000, 900, 300)


def rows(folder: Path, *values: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in values), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("billions", "hardware", "method"),
    [
        (0.6, CPU, "lora"),
        (1.5, SMALL, "lora"),
        (3, Hardware(1, 6), "qlora"),
        (8, SMALL, "lora"),  # bfloat16 weights of 16 GB
        (14, SMALL, "qlora"),
        (8, LARGE, "lora"),
        (14, LARGE, "lora"),
        (70, LARGE, "qlora"),
        (None, SMALL, "lora"),
    ],
)
def test_the_method_follows_size_and_memory(billions: float | None, hardware: Hardware, method: str) -> None:
    assert choose_method(ModelLook("m", billions), hardware)[0] == method


def test_every_plan_is_a_valid_config_without_advice() -> None:
    methods = (None, "lora", "qlora", "full")
    formats = ("chat_template", "completion")
    for size, hardware, method, kind in product((0.6, 70, None), (CPU, SMALL, MANY), methods, formats):
        for count, leak in ((5, None), (None, "it leaks"), (10**7, None)):
            data = DataLook("a.jsonl", {"type": kind}, "why", count, 20_000 if count is None else 80, 60)
            found = plan(data, None, ModelLook("org/model", size, leak), hardware, method)  # pyright: ignore
            cfg = parse_config(config_text(found, "c.yaml"))
            assert cfg.sample_packing is (leak is None)
            unusual = {each.path[0] for each in advice(cfg)}
            assert unusual <= {"micro_batch_size"} if leak else not unusual - {"optimizer"}


def test_settings_are_known_to_the_schema() -> None:
    known = json.loads(schema_text())["properties"]
    found = plan(CHAT, CHAT, ModelLook("m", 8), SMALL, "qlora")
    assert {each.key for each in found.settings} <= known.keys() <= SftConfig.model_fields.keys() | {"$schema"}


def test_larger_models_take_lower_rates_and_small_data_more_steps() -> None:
    def cfg(billions: float, count: int) -> SftConfig:
        data = DataLook("a.jsonl", {"type": "completion"}, "why", count, 900, 300)
        return parse_config(config_text(plan(data, None, ModelLook("m", billions), LARGE, "lora"), "c.yaml"))

    assert cfg(70, 5_000).learning_rate < cfg(1, 5_000).learning_rate
    few, many = cfg(1, 100), cfg(1, 100_000)
    assert few.num_epochs > many.num_epochs
    assert few.gradient_accumulation_steps < many.gradient_accumulation_steps


@pytest.mark.parametrize(
    ("text", "found"),
    [("cpu", CPU), ("24", SMALL), ("24GB", SMALL), ("1x24 gb", SMALL), ("8x80GB", MANY), ("8 x 80", MANY)],
)
def test_hardware_is_read(text: str, found: Hardware) -> None:
    assert parse_hardware(text) == found


@pytest.mark.parametrize("text", ["", "gpu", "0x24", "0", "24TB", "-1"])
def test_what_is_no_hardware_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="8x80GB"):
        parse_hardware(text)


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, {"type": "chat_template"}),
        ({"conversations": [{"from": "human", "value": "a"}]}, {"type": "chat_template"}),
        ({"instruction": "a", "output": "b"}, {"type": "alpaca"}),
        ({"question": "a", "answer": "b"}, {"type": "alpaca_chat.load_qa"}),
        ({"text": "a"}, {"type": "completion"}),
    ],
)
def test_the_format_is_told_by_the_columns(row: dict[str, Any], entry: dict[str, Any], tmp_path: Path) -> None:
    seen = look_at(rows(tmp_path, row, row))
    assert (seen.entry, seen.guessed, seen.count) == (entry, False, 2)


def test_messages_of_other_names_are_mapped_and_said_to_be_guessed(tmp_path: Path) -> None:
    talk = [{"speaker": "customer", "text": "hello there"}, {"speaker": "agent", "text": "how can I help you"}]
    seen = look_at(rows(tmp_path, {"dialog": talk, "id": 1}, {"dialog": talk, "id": 2}))
    assert seen.guessed
    assert seen.entry == {
        "type": "chat_template",
        "field_messages": "dialog",
        "message_property_mappings": {"role": "speaker", "content": "text"},
        "roles": {"user": ["customer"], "assistant": ["agent"]},
    }
    found = plan(seen, None, ModelLook("m", 1), CPU)
    assert any("guessed" in note for note in found.notes)
    assert parse_config(config_text(found, "c.yaml")).datasets[0].roles == {
        "user": ("customer",),
        "assistant": ("agent",),
    }


def test_rows_of_no_format_are_refused_with_the_decision_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="their columns are") as refused:
        look_at(rows(tmp_path, {"x": 1, "y": 2}))
    assert "message_property_mappings" in str(refused.value)


def test_a_folder_tells_size_template_and_whether_rows_can_be_shared(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1000, 2000], "data_offsets": [0, 0]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    seen = look_at_model(str(tmp_path))
    assert (seen.billions, seen.template) == (0.002, False)
    assert "state" in (seen.leak or "")
    (tmp_path / "chat_template.jinja").write_text("x")
    assert look_at_model(str(tmp_path), 7).template is True
    assert look_at_model(str(tmp_path), 7).billions == 7
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 30)  # a damaged file says nothing
    assert look_at_model(str(tmp_path)).billions is None


@given(st.text() | st.booleans() | st.integers() | st.sampled_from([2e-4, 1e-5, 0.05, 0.03, 1.5, 3e-4]))
def test_a_scalar_is_read_back_as_it_was(value: Any) -> None:
    (read,) = yaml.safe_load(f"- {scalar(value)}")
    assert (float(read) if isinstance(value, float) else read) == value  # YAML 1.1 reads 2e-4 as text, the loader not


@given(st.text(), st.text())
def test_no_text_of_the_data_ends_a_comment_or_a_value(path: str, why: str) -> None:
    if not path or "\ud800" <= max(path) <= "\udfff":
        return
    data = DataLook(path, {"type": "completion"}, why, 10, 10, 10)
    cfg = parse_config(config_text(plan(data, None, ModelLook("m", 1), CPU), "c.yaml"))
    assert cfg.datasets[0].path == path
