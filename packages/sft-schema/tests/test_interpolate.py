from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_schema import ConfigError, parse_config
from sft_schema.interpolate import interpolate
from sft_schema.yaml_source import read_yaml

TEXT = "base_model: ${MODEL}\ndatasets:\n  - path: ${ROOT:-/data}/chats.jsonl\nlearning_rate: ${RATE}\n"
ENV = {"MODEL": "some/model", "RATE": "2e-4"}


def test_variables_are_put_in_where_it_is_asked_for() -> None:
    cfg = parse_config(TEXT, env=ENV)
    assert (cfg.base_model, cfg.learning_rate, cfg.datasets[0].path) == ("some/model", 2e-4, "/data/chats.jsonl")
    assert parse_config(TEXT, env={**ENV, "ROOT": "/mnt"}).datasets[0].path == "/mnt/chats.jsonl"


def test_otherwise_they_are_plain_text() -> None:
    cfg = parse_config(TEXT.replace("${RATE}", "1e-4"))
    assert cfg.base_model == "${MODEL}"


def test_every_variable_that_is_not_set_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(TEXT, file="c.yaml", env={})
    unset = [issue for issue in caught.value.issues if issue.code == "unset_variable"]
    assert [(issue.line, issue.message) for issue in unset] == [
        (1, "the environment variable MODEL is not set"),
        (4, "the environment variable RATE is not set"),
    ]


def test_what_is_put_in_is_one_value_whatever_it_holds() -> None:
    cfg = parse_config(TEXT, env={**ENV, "MODEL": "a\nseed: 7\n", "ROOT": "${MODEL} {x: 1}"})
    assert cfg.base_model == "a\nseed: 7\n"
    assert cfg.seed == 42
    assert cfg.datasets[0].path == "${MODEL} {x: 1}/chats.jsonl"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("${N}", 3),
        ('"${N}"', 3),
        ("${N}x", "3x"),
        ("$${N}", "${N}"),
        ("$N", "$N"),
        ("${}", "${}"),
        ("${N:-}", 3),
        ("${GONE:-}", None),
        ("${GONE:-true}", True),
        ('["${N}", {a: "${N}"}]', [3, {"a": 3}]),
    ],
)
def test_values_are_read_as_yaml_reads_them(value: str, found: object) -> None:
    located = read_yaml(f"key: {value}\n", "c.yaml")
    interpolate(located, {"N": "3"})
    assert located.values == {"key": found}


@given(st.text(max_size=40), st.dictionaries(st.text("ABC", min_size=1, max_size=2), st.text(max_size=9), max_size=3))
def test_any_text_and_any_environment_give_a_value_or_an_issue(text: str, env: dict[str, str]) -> None:
    located = read_yaml("key: x\n", "c.yaml")
    located.values = {"key": text}
    interpolate(located, env)
    assert located.issues or "key" in located.values
