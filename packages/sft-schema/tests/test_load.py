"""A YAML text becomes a frozen config, or every problem is named at once with its place and its fix."""

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sft_schema import ConfigError, SftConfig, load_config, parse_config
from sft_schema.config import AdapterSection

BOMB = "k0: &k0 [x]\n" + "".join(f"k{n + 1}: &k{n + 1} [{', '.join([f'*k{n}'] * 10)}]\n" for n in range(7))
MINIMAL = "base_model: m\ndatasets:\n  - path: a.jsonl\nlearning_rate: 1e-4\n"


def problems(text: str, *overrides: str) -> list[tuple[str, str, int | None]]:
    """Code, path and line of each issue."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="c.yaml", overrides=overrides)
    return [(issue.code, ".".join(map(str, issue.path)), issue.line) for issue in caught.value.issues]


def test_a_minimal_config_has_the_documented_defaults() -> None:
    cfg = parse_config(MINIMAL)
    assert cfg.learning_rate == 1e-4
    assert cfg.datasets[0].type == "chat_template"
    assert (cfg.train_on_inputs, cfg.train_on_eos, cfg.roles_to_train) == (False, "turn", ("assistant",))


def test_three_mistakes_are_reported_together_with_line_and_fix() -> None:
    text = MINIMAL + "sequence_length: 512\nmicro_batch_size: two\nlora_r: 8\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="c.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "c.yaml:5:1: sequence_length: there is no setting 'sequence_length'"
    assert lines[1] == "    fix: did you mean 'sequence_len'? [unknown_key]"
    assert lines[2] == 'c.yaml:6:1: micro_batch_size: must be a valid integer, but is "two"'
    assert lines[4].startswith("c.yaml:7:1: lora_r: lora_r set, but no adapter is")
    assert lines[-1] == "3 problems in the config"


def test_required_settings_are_named() -> None:
    assert problems("sample_packing: true\n") == [
        ("missing_key", "base_model", None),
        ("missing_key", "datasets", None),
        ("missing_key", "learning_rate", None),
    ]
    assert [code for code, _, _ in problems("")] == ["missing_key"] * 3


@pytest.mark.parametrize(
    ("key", "replacement"),
    [
        ("sampel_packing: true", "did you mean 'sample_packing'?"),
        ("sequence_length: 5", "did you mean 'sequence_len'?"),
        ("context_parapllel_size: 2", "did you mean 'context_parallel_size'?"),
        ("tensor_parallel_sizes: 2", "did you mean 'tensor_parallel_size'? axolotl has it; a model is not sharded"),
        ("per_device_train_batchsize: 2", "did you mean 'per_device_train_batch_size'? transformers has it; write"),
        ("load_in_4bits: false", "did you mean 'load_in_4bit'?"),
        ("field_messages: x", "belongs to an entry of `datasets`"),
        ("message_field_role: x", "belongs to an entry of `datasets`"),
        ("sampel_packing:", "did you mean 'sample_packing'?"),
        (f"{'x' * 900}: 1", "docs/config.md"),
        ("zzzzqqq: x", "docs/config.md"),
    ],
)
def test_an_unknown_key_is_answered_with_the_right_one(key: str, replacement: str) -> None:
    with pytest.raises(ConfigError, match="unknown_key") as caught:
        parse_config(MINIMAL + key)
    assert replacement in caught.value.issues[0].fix


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("sequence_len: 500_000", "write `sequence_len: 500000`"),
        ("sample_packing: yes", "write `sample_packing: true`"),
        ("bf16: off", "write `bf16: false`"),
    ],
)
def test_values_that_yaml_1_1_reads_otherwise_are_named(line: str, fix: str) -> None:
    with pytest.raises(ConfigError, match="wrong_value") as caught:
        parse_config(MINIMAL + line)
    assert caught.value.issues[0].fix.startswith(fix)


def test_a_key_without_a_value_counts_as_absent() -> None:
    blank = "adapter:\nlora_r: ~\nresume_from_checkpoint: null\nspecial_tokens: {bos_token: }\n"
    blank += "wandb_project:\nload_in_4bit:\nmax_length:\ntemplate:\ngradient_checkpointing_kwargs: {use_reentrant: }\n"
    text = MINIMAL.replace("a.jsonl", "a.jsonl\n    name:\n    data_files:")
    assert parse_config(text + blank, overrides=["seed=", "datasets.0.split=null"]) == parse_config(MINIMAL)
    assert problems(MINIMAL.replace("m\n", "\n", 1)) == [("missing_key", "base_model", 1)]


def test_an_unknown_key_without_a_value_is_still_unknown() -> None:
    assert problems(MINIMAL + "zzz:\n") == [("unknown_key", "zzz", 5)]


def test_many_unknown_keys_end_quickly() -> None:
    text = MINIMAL + "".join(f"some_unknown_key_{n}: 1\n" for n in range(20_000))
    began = time.perf_counter()
    assert len(problems(text)) == 20_000
    assert time.perf_counter() - began < 10


def test_nested_keys_and_values_are_located() -> None:
    text = (
        "base_model: m\nlearning_rate: 1e-4\ndatasets:\n  - path: a\n    typ: alpaca\n  - path: b\n    type: alpacca\n"
    )
    assert problems(text) == [("unknown_key", "datasets.0.typ", 5), ("wrong_value", "datasets.1.type", 7)]


@pytest.mark.parametrize(
    "line",
    [
        "learning_rate: -1",
        "learning_rate: '1e-4'",
        "learning_rate: .nan",
        "sequence_len: 1",
        "sequence_len: 2.5",
        "sample_packing: 1",
        "sample_packing: yes",
        "num_epochs: 0",
        "lora_dropout: 1",
        "datasets: []",
        "datasets: x",
        "bf16: maybe",
        "roles_to_train: assistant",
    ],
)
def test_wrong_values_are_refused_once(line: str) -> None:
    key = line.split(":")[0]
    kept = "".join(f"{each}\n" for each in MINIMAL.split("\n") if not each.startswith(key) and each)
    if key == "datasets":
        kept = kept.replace("  - path: a.jsonl\n", "")
    assert [(code, path) for code, path, _ in problems(kept + line)] == [("wrong_value", key)]


def test_overrides_are_checked_like_the_file() -> None:
    cfg = parse_config(MINIMAL, overrides=["sequence_len=64", "datasets.0.type=alpaca", "special_tokens.pad_token=<p>"])
    assert (cfg.sequence_len, cfg.datasets[0].type, cfg.special_tokens.pad_token) == (64, "alpaca", "<p>")
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL, overrides=["sequence_len=x", "nonsense", "datasets.7.path=x", "datasets.0.tpye=x"])
    assert {issue.file for issue in caught.value.issues} == {"--set"}
    assert len(caught.value.issues) == 4
    assert problems(MINIMAL, "\u00b2=1") == [("unknown_key", "\u00b2", None)]


def test_numbers_and_words_are_read_by_yaml_1_2() -> None:
    cfg = parse_config(MINIMAL.replace("1e-4", "1E-4") + "warmup_ratio: .5\nseed: 0x10\nnum_epochs: 1.\n")
    assert (cfg.learning_rate, cfg.warmup_ratio, cfg.seed, cfg.num_epochs) == (1e-4, 0.5, 16, 1.0)
    assert parse_config(
        MINIMAL + "chat_template_kwargs: {a: on, b: 'true', c: True, d: 010}\n"
    ).chat_template_kwargs == {
        "a": "on",
        "b": "true",
        "c": True,
        "d": 10,
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("base_model: [a", "yaml_syntax"),
        ("a:\n\t- b", "yaml_syntax"),
        ("- a\n- b\n", "not_a_mapping"),
        ("just text", "not_a_mapping"),
        (MINIMAL + "seed: 1\nseed: 2\n", "duplicate_key"),
        (MINIMAL + "output_dir: !!python/object/apply:os.system [ls]\n", "yaml_tag"),
        (BOMB, "alias_bomb"),
        ("a: &a [*a]\n", "alias_bomb"),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 99)), "alias_bomb"),
        ("a: " + "[" * 100_000, "too_deep"),
        ("- " * 40 + "x", "too_deep"),
        ("a: \ud800", "yaml_syntax"),
        (MINIMAL + "? [a, b]\n: 1\n", "yaml_key"),
        (MINIMAL + f"seed: {'9' * 5000}", "wrong_value"),
        (MINIMAL + f"seed: 0x{'f' * 5000}", "wrong_value"),
        ("x: '" + "a" * 1_000_001 + "'", "too_large"),
    ],
)
def test_hostile_yaml_ends_in_an_error(text: str, code: str) -> None:
    assert code in [found for found, _, _ in problems(text)]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml.*unreadable"):
        load_config(tmp_path / "gone.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="unreadable"):
        load_config(tmp_path / "bytes.yaml")


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        parse_config(MINIMAL).seed = 3  # type: ignore[misc]


keys = st.one_of(st.sampled_from(sorted(SftConfig.model_fields)), st.text(max_size=8))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))


@given(st.dictionaries(keys, values, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_mapping_is_a_config_or_a_config_error(mapping: dict[str, object]) -> None:
    try:
        cfg = parse_config(yaml.safe_dump(mapping, allow_unicode=True))
    except ConfigError as error:
        issues = error.issues
    else:
        assert isinstance(cfg, SftConfig)
        return
    assert issues
    assert all(issue.fix and issue.message for issue in issues)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text)


@pytest.mark.parametrize("key", ["save_steps", "saves_per_epoch", "eval_steps", "evals_per_epoch"])
def test_a_number_of_saves_or_evaluations_is_a_strategy(key: str) -> None:
    strategy = f"{key[:4]}_strategy"
    cfg = parse_config(MINIMAL + f"val_set_size: 0.1\n{key}: 3\n")
    assert getattr(cfg, strategy) == "steps"
    again = parse_config(json.dumps(cfg.model_dump(mode="json", exclude=set(AdapterSection.model_fields))))
    assert again == cfg
    assert getattr(parse_config(MINIMAL + f"{key}: null\n"), strategy) != "steps"


def test_no_saves_per_epoch_leave_the_strategy_as_it_is() -> None:
    assert parse_config(MINIMAL + "saves_per_epoch: 0\nevals_per_epoch: 0\n").save_strategy == "epoch"


@pytest.mark.parametrize("value", ["1.5", "0", "-0.1", "0.0"])
def test_steps_are_whole_or_a_fraction_of_the_run(value: str) -> None:
    with pytest.raises(ConfigError, match="save_steps"):
        parse_config(MINIMAL + f"save_steps: {value}\n")
    assert parse_config(MINIMAL + "save_steps: 0.25\nlogging_steps: 0.1\n").save_steps == 0.25


def test_early_stopping_gives_the_best_weights_unless_the_last_are_asked_for() -> None:
    text = MINIMAL + "val_set_size: 0.1\nevals_per_epoch: 2\nsaves_per_epoch: 1\nearly_stopping_patience: 3\n"
    assert parse_config(text).load_best_model_at_end
    assert not parse_config(text + "load_best_model_at_end: false\n").load_best_model_at_end


@pytest.mark.parametrize(
    ("key", "switch"),
    [
        ("wandb_project", "use_wandb"),
        ("trackio_project_name", "use_trackio"),
        ("mlflow_experiment_name", "use_mlflow"),
        ("comet_project_name", "use_comet"),
    ],
)
def test_a_project_turns_its_service_on(key: str, switch: str) -> None:
    assert getattr(parse_config(MINIMAL + f"{key}: small\n"), switch)
    assert not getattr(parse_config(MINIMAL + f"{key}:\n"), switch)
